// The product that convolutions over channels are made of: a few pixels times a few vectors of filters, summed over the floats that
// both run along. Pixels are read by broadcast, filters as vectors, packed in the order they are read.
//
// Register budget: PIXELS·FILTERS accumulators, FILTERS vectors of weights and a broadcast: 24 + 2 + 1 of 32 registers, 12 + 2 + 1 of 16.
#pragma once
#include "op.h"

namespace striate::STRIATE_ISA {

constexpr int PRODUCT_PIXELS = L >= 16 ? 12 : 6, PRODUCT_FILTERS = 2;

// What a pixel reads: `rows` × `runs` runs of `run` floats.
struct Reads {
  int64_t pixel;                  // floats from one pixel's first to the next one's
  int64_t rows, row, runs, across, run;
};

template <int PIXELS, int FILTERS>
static inline __attribute__((always_inline)) void multiply(V (&acc)[PIXELS][FILTERS], const Reads& o, const float* x, const float* w) {
  for (int64_t r = 0; r < o.rows; ++r, x += o.row) {
    const float* line = x;
    for (int64_t s = 0; s < o.runs; ++s, line += o.across) {
      const float* at = line;
      for (int64_t t = 0; t < o.run; ++t, ++at, w += FILTERS * L) {
        V weight[FILTERS];
#pragma GCC unroll 4
        for (int i = 0; i < FILTERS; ++i) weight[i] = load(w + i * L);
#pragma GCC unroll 12
        for (int j = 0; j < PIXELS; ++j)
#pragma GCC unroll 4
          for (int i = 0; i < FILTERS; ++i) acc[j][i] += at[j * o.pixel] * weight[i];
      }
    }
  }
}

// Calls `with`.template operator()<PIXELS>() for a number of pixels that is known when the program runs.
template <int PIXELS, class F>
static inline __attribute__((always_inline)) void with_pixels(int64_t pixels, F with) {
  if constexpr (PIXELS == 1) with.template operator()<1>();
  else if (pixels == PIXELS) with.template operator()<PIXELS>();
  else with_pixels<PIXELS - 1>(pixels, with);
}

}  // namespace striate::STRIATE_ISA
