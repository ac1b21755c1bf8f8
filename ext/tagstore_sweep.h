/* The loops of the tag store that run over all tags: age and change. Written so that the compiler makes vectors of
 * them; on x86-64 a second copy with AVX2 is made and chosen when the program is loaded. */
#ifndef GWANJE_TAGSTORE_SWEEP_H
#define GWANJE_TAGSTORE_SWEEP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define GW_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define GW_CLONES
#endif

#define GW_SWEEP 1024

/* Severity BAD takes the place of UNCERTAIN, with the reason STALE: 0x8001 in place of 0x4000. */
#define GW_AGED(quality, old) ((uint16_t)((old) ? ((quality) & 0xBFFF) | 0x8001 : (quality)))

/* A sample may be this much newer than its reader's time, for the reader took it first: more is no time of this boot, and
 * the sample would never grow old. ns */
#define GW_AHEAD 1000000000LL

/* Copy times and qualities of n samples; each that is older than its limit (0: none), or from the future, becomes
 * BAD|STALE. Returns whether one was from the future: it may be right later on. */
GW_CLONES int gw_copy_aged(int64_t *restrict received, uint16_t *restrict quality, const int64_t *restrict from_received,
                            const uint16_t *restrict from_quality, const int64_t *restrict limit, int64_t now, long n) {
    int64_t horizon = now + GW_AHEAD, ahead = 0;
    for (long i = 0; i < n; i++) {
        int64_t at = from_received[i], early = (limit[i] > 0) & (at > horizon);
        received[i] = at;
        quality[i] = GW_AGED(from_quality[i], ((limit[i] > 0) & (now - at > limit[i])) | early);
        ahead |= early;
    }
    return ahead != 0;
}

/* The same for samples that are there already. Returns the last moment at which no further one is too old; knowing that
 * costs more than marking, and pays where a block is looked at again and again. */
GW_CLONES int64_t gw_mark_aged(uint16_t *restrict quality, const int64_t *restrict received,
                               const int64_t *restrict limit, int64_t now, long n) {
    int64_t fresh_until = INT64_MAX;
    for (long i = 0; i < n; i++) {
        int64_t until = limit[i] > 0 ? (int64_t)((uint64_t)received[i] + (uint64_t)limit[i]) : INT64_MAX;
        quality[i] = GW_AGED(quality[i], now > until);
        until = now > until ? INT64_MAX : until;
        fresh_until = until < fresh_until ? until : fresh_until;
    }
    return fresh_until;
}

/* mark[i] = 1 where the value moved by more than its deadband or the quality differs. Two NaN are alike. */
GW_CLONES void gw_mark_changed(uint8_t *restrict mark, const double *restrict value, const uint16_t *restrict quality,
                               const double *restrict last_value, const uint16_t *restrict last_quality,
                               const double *restrict deadband, long n) {
    for (long i = 0; i < n; i++) {
        double v = value[i], l = last_value[i];
        int beyond = !(fabs(v - l) <= deadband[i]);
        int same = (v == l) | ((v != v) & (l != l));
        mark[i] = (uint8_t)((beyond & !same) | (quality[i] != last_quality[i]));
    }
}

/* Indices of what changed, ascending; the reference takes over the changed samples only. Returns how many. */
static long gw_changes(double *last_value, uint16_t *last_quality, const double *value, const uint16_t *quality,
                       const double *deadband, int32_t *out, long n) {
    uint8_t mark[GW_SWEEP];
    long found = 0;
    for (long begin = 0; begin < n; begin += GW_SWEEP) {
        long m = n - begin < GW_SWEEP ? n - begin : GW_SWEEP;
        gw_mark_changed(mark, value + begin, quality + begin, last_value + begin, last_quality + begin,
                        deadband + begin, m);
        if (m < GW_SWEEP) memset(mark + m, 0, (size_t)(GW_SWEEP - m));
        for (long eight = 0; eight < m; eight += 8) {
            uint64_t marks;
            memcpy(&marks, mark + eight, 8);
            while (marks) {
                long i = begin + eight + (__builtin_ctzll(marks) >> 3);
                marks &= marks - 1;
                out[found++] = (int32_t)i;
                last_value[i] = value[i];
                last_quality[i] = quality[i];
            }
        }
    }
    return found;
}

#endif
