/* Peak and power of single milliseconds, and what an onset looks like in them. */
#ifndef GWANJE_ENVELOPE_MS_H
#define GWANJE_ENVELOPE_MS_H

#include <math.h>
#include <stdint.h>

#include "band_clones.h"

#define ENVELOPE_SAMPLES 16
#define ONSET_MEASURES 8

/* x[t] - share x[t-1], full scale 1: its largest magnitude and mean square in every 16 samples. */
BAND_CLONES void envelope_ms(const int16_t *restrict samples, int16_t before, float share, int n_ms,
                             float *restrict peak, float *restrict power) {
    const float scale = 1.0f / 32768.0f;
    for (int m = 0; m < n_ms; m++) {
        const int16_t *x = samples + m * ENVELOPE_SAMPLES;
        float d[ENVELOPE_SAMPLES];
        d[0] = ((float)x[0] - share * (float)(m ? x[-1] : before)) * scale;
        for (int i = 1; i < ENVELOPE_SAMPLES; i++) d[i] = ((float)x[i] - share * (float)x[i - 1]) * scale;
        float top[8], sum[8];
        for (int i = 0; i < 8; i++) {
            float a = fabsf(d[i]), b = fabsf(d[i + 8]);
            top[i] = a > b ? a : b;
            sum[i] = d[i] * d[i] + d[i + 8] * d[i + 8];
        }
        for (int half = 4; half; half /= 2)
            for (int i = 0; i < half; i++) {
                top[i] = top[i] > top[i + half] ? top[i] : top[i + half];
                sum[i] += sum[i + half];
            }
        peak[m] = top[0];
        power[m] = sum[0] / ENVELOPE_SAMPLES;
    }
}

/* How far the peaks have fallen `ms` after the loudest: the mean over 5 ms around, dB below it. */
static float onset_fallen(const float *peak_db, int n, int top, int ms) {
    float sum = 0.0f;
    int count = 0;
    for (int t = top + ms - 2; t <= top + ms + 2; t++)
        if (t >= 0 && t < n) {
            sum += peak_db[t];
            count++;
        }
    return count ? peak_db[top] - sum / count : 0.0f;
}

/* Measures of the onset at `at`, of which `after` milliseconds have been heard (fewer where the envelope ends):
 *   0  loudest millisecond over the mean of up to 200 ms before, dB
 *   1  rise: from the last millisecond 12 dB under the loudest to the loudest, ms
 *   2  crest: loudest peak over the mean power of what was heard, dB
 *   3  fallen 10 ms after the loudest, dB      4  30 ms after      5  80 ms after
 *   6  where its energy lies: mean time after the onset, ms
 *   7  how often it rises by 9 dB again within what was heard
 */
static void onset_shape(const float *peak_db, const float *power, int n, int at, int after, float *out) {
    int end = at + after < n ? at + after : n, from = at > 200 ? at - 200 : 0, before_end = at > 3 ? at - 3 : at;
    float before = 0.0f;
    for (int t = from; t < before_end; t++) before += peak_db[t];
    before /= (float)(before_end - from);
    int top = at;
    for (int t = at; t < end; t++)
        if (peak_db[t] > peak_db[top]) top = t;
    int low = top;
    while (low > from && peak_db[low] > peak_db[top] - 12.0f) low--;
    float energy = 0.0f, moment = 0.0f;
    for (int t = at; t < end; t++) {
        energy += power[t];
        moment += power[t] * (float)(t - at);
    }
    float mean_db = 10.0f * log10f(energy / (float)(end - at) + 1e-12f);
    float valley = peak_db[top];
    int again = 0;
    for (int t = top + 1; t < end; t++) {
        if (peak_db[t] < valley) valley = peak_db[t];
        if (peak_db[t] > valley + 9.0f && peak_db[t] > before + 10.0f) {
            again++;
            valley = peak_db[t];
        }
    }
    out[0] = peak_db[top] - before;
    out[1] = (float)(top - low);
    out[2] = peak_db[top] - mean_db;
    out[3] = onset_fallen(peak_db, end, top, 10);
    out[4] = onset_fallen(peak_db, end, top, 30);
    out[5] = onset_fallen(peak_db, end, top, 80);
    out[6] = moment / (energy + 1e-12f);
    out[7] = (float)again;
}

#endif
