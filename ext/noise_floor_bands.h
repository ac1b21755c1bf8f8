/* Minimum statistics over the bands of one frame. */
#ifndef GWANJE_NOISE_FLOOR_BANDS_H
#define GWANJE_NOISE_FLOOR_BANDS_H

#include "band_clones.h"

/* Smooth a frame, and keep the lowest of the turn that is on. */
BAND_CLONES void floor_frame(const float *restrict log_mel, float *restrict smooth, float *restrict lowest, int n_bands,
                             float share, int first) {
    for (int b = 0; b < n_bands; b++) {
        float s = first ? log_mel[b] : smooth[b] + share * (log_mel[b] - smooth[b]);
        smooth[b] = s;
        lowest[b] = s < lowest[b] ? s : lowest[b];
    }
}

/* A turn is over: its lowest enters the ring, the lowest of the ring is taken anew, the next turn begins. */
BAND_CLONES void floor_turn(float *restrict lowest, const float *restrict smooth, float *restrict ring,
                            float *restrict past, int n_bands, int n_turns, int slot) {
    for (int b = 0; b < n_bands; b++) {
        ring[slot * n_bands + b] = lowest[b];
        past[b] = ring[b];
        lowest[b] = smooth[b];
    }
    for (int k = 1; k < n_turns; k++)
        for (int b = 0; b < n_bands; b++) {
            float r = ring[k * n_bands + b];
            past[b] = r < past[b] ? r : past[b];
        }
}

/* The lowest of the ring and of the turn that is on; a minimum lies under the mean by the bias. */
BAND_CLONES void floor_of(const float *restrict lowest, const float *restrict past, float *restrict out, int n_bands,
                          float bias) {
    for (int b = 0; b < n_bands; b++) out[b] = (lowest[b] < past[b] ? lowest[b] : past[b]) + bias;
}

#endif
