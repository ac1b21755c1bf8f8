/* One frame of per-channel energy normalisation. */
#ifndef GWANJE_PCEN_BANDS_H
#define GWANJE_PCEN_BANDS_H

#include <math.h>

#include "band_clones.h"

/* sqrt(E (offset + M)^-alpha + delta) - sqrt(delta), with E the band's magnitude and M its slow mean. */
BAND_CLONES void pcen_frame(const float *restrict log_mel, float *restrict smooth, float *restrict out, int n_bands,
                            float share, float alpha, float offset, float delta, int first) {
    float root = sqrtf(delta);
    for (int b = 0; b < n_bands; b++) {
        float magnitude = band_exp2(1.44269504088896f * log_mel[b]);
        float slow = first ? magnitude : smooth[b] + share * (magnitude - smooth[b]);
        smooth[b] = slow;
        float gain = band_exp2(-alpha * band_log2(offset + slow));
        out[b] = sqrtf(magnitude * gain + delta) - root;
    }
}

#endif
