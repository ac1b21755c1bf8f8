/* Compiles a kernel's body once per instruction set; include it once, with
 *   LANES_BODY                the header that holds the body
 *   LANES_NAME(name, width)   name of a function's copy; width is x4, x8 or x16
 * The body sees
 *   VW            lanes per vector: 4 (the machine's baseline: SSE2, or NEON on ARM), 8 (AVX2, FMA), 16 (AVX-512)
 *   LANES(name)   name of this copy of a function
 *   TARGET        function attribute that turns the instruction set on
 *   RECIPROCAL_SQRT(v), JOIN(a, b)   where the processor has them: an estimate; two rows of eight lanes as one of 16
 */
#define LANES(name) LANES_NAME(name, x4)
#define VW 4
#define TARGET
#ifdef __SSE2__
#define RECIPROCAL_SQRT(v) _mm_rsqrt_ps((__m128)(v))
#endif
#include LANES_BODY
#undef BUTTERFLY4
#undef vf
#undef vi
#undef LANES
#undef VW
#undef TARGET
#undef RECIPROCAL_SQRT

#ifdef LANES_X86
#define LANES(name) LANES_NAME(name, x8)
#define VW 8
#define TARGET __attribute__((target("avx2,fma")))
#define RECIPROCAL_SQRT(v) _mm256_rsqrt_ps((__m256)(v))
#include LANES_BODY
#undef BUTTERFLY4
#undef vf
#undef vi
#undef LANES
#undef VW
#undef TARGET
#undef RECIPROCAL_SQRT

#define LANES(name) LANES_NAME(name, x16)
#define VW 16
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")))
#define RECIPROCAL_SQRT(v) _mm512_rsqrt14_ps((__m512)(v))
#define JOIN(a, b) _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_load_ps(a)), _mm256_load_ps(b), 1)
#include LANES_BODY
#undef BUTTERFLY4
#undef vf
#undef vi
#undef LANES
#undef VW
#undef TARGET
#undef RECIPROCAL_SQRT
#undef JOIN
#endif
