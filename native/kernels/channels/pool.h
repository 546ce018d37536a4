// Pools over channels. Windows reach over the edge only into padding that does not count: they are cut off there.
#pragma once
#include <math.h>

#include "op.h"

namespace striate::STRIATE_ISA {

struct Cut {
  int64_t begin, end;
};

// Of `taps` rows or columns `dilation` apart from `first` on, those that lie in 0 … size.
static inline Cut taps_inside(int64_t first, int64_t taps, int64_t dilation, int64_t size) {
  int64_t begin = 0, end = taps;
  if (first < 0) begin = (dilation - 1 - first) / dilation;
  if (first + (taps - 1) * dilation >= size) end = first < size ? (size - 1 - first) / dilation + 1 : 0;
  return {begin < end ? begin : end, end};
}

// y[p, q] = of(x at the window's first pixel, rows, columns) for each vector of channels; a share is of the rows, or where there is but one, of the channels.
template <class O, class F>
static void over_windows(const At& at, const O& o, F of) {
  const float* x = floats(at, o.x) + o.x_first;
  float* y = floats(at, o.y) + o.y_first;
  const int64_t wide = up_to_lanes(o.c);
  const auto [top, bottom, begin, end] = part_of(at.share, o.p, wide, L);
  clear_frame(at.share, y, o.p, o.q, wide, o.y_pitch, o.y_row, o.border);
  for (int64_t p = top; p < bottom; ++p) {
    const int64_t row = p * o.stride_h - o.before_h;
    const Cut rows = taps_inside(row, o.r, o.dilation_h, o.h);
    for (int64_t q = 0; q < o.q; ++q) {
      const int64_t column = q * o.stride_w - o.before_w;
      const Cut columns = taps_inside(column, o.s, o.dilation_w, o.w);
      for (int64_t c = begin; c < end; c += L)
        store(y + p * o.y_row + q * o.y_pitch + c, of(x + row * o.x_row + column * o.x_pitch + c, rows, columns, p, q));
    }
  }
}

static void forward(const At& at, const ChannelMaxPool& o) {
  const int64_t down = o.dilation_h * o.x_row, across = o.dilation_w * o.x_pitch;
  over_windows(at, o, [&](const float* x, Cut rows, Cut columns, int64_t, int64_t) {
    V best = splat(-__builtin_inff());
    VI none{};
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t s = columns.begin; s < columns.end; ++s) {
        const V value = load(x + r * down + s * across);
        best = larger(best, value);
        none |= value != value;
      }
    return choose(none, splat(__builtin_nanf("")), best);
  });
}

// `counts` as an AveragePool's: what each sum is divided by.
static void forward(const At& at, const ChannelAveragePool& o) {
  const int64_t down = o.dilation_h * o.x_row, across = o.dilation_w * o.x_pitch;
  const int32_t* counts = at.run.program.table + o.counts;
  over_windows(at, o, [&](const float* x, Cut rows, Cut columns, int64_t p, int64_t q) {
    V sum[2]{};
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t s = columns.begin; s < columns.end; ++s) sum[s & 1] += load(x + r * down + s * across);
    return (sum[0] + sum[1]) / static_cast<float>(counts[p * o.q + q]);
  });
}

}  // namespace striate::STRIATE_ISA
