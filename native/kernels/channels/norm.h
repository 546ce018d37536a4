// Response norm over channels.
#pragma once
#include <math.h>

#include "op.h"

namespace striate::STRIATE_ISA {

// y = x / (k + alpha/size · Σ x²)^beta over `size` neighboring channels, as a ResponseNorm.
static void forward(const At& at, const ChannelResponseNorm& o) {
  const int64_t before = o.size / 2, after = (o.size - 1) / 2, wide = up_to_lanes(o.c);
  const auto scale = static_cast<float>(o.alpha / static_cast<double>(o.size)), k = static_cast<float>(o.k), beta = static_cast<float>(o.beta);
  float* squares = at.scratch + before;   // zeros on both sides
  memset(at.scratch, 0, static_cast<size_t>(before + wide + after) * sizeof(float));
  for (int64_t row = begin_of(at.share, o.h), end = end_of(at.share, o.h); row < end; ++row)
    for (int64_t column = 0; column < o.w; ++column) {
      const float* x = floats(at, o.x) + o.x_first + row * o.x_row + column * o.x_pitch;
      float* y = floats(at, o.y) + o.y_first + row * o.y_row + column * o.y_pitch;
      for (int64_t c = 0; c < wide; c += L) store(squares + c, load(x + c) * load(x + c));
      for (int64_t c = o.c; c < wide; ++c) squares[c] = 0.0f;  // whatever lies in the rest of the last vector
      for (int64_t c = 0; c < wide; c += L) {
        V sum{};
        for (int64_t i = -before; i <= after; ++i) sum += load(squares + c + i);
        const V base = k + scale * sum;
        store(y + c, load(x + c) * by_lane(base, [beta](float value) { return powf(value, -beta); }));
      }
    }
  clear_frame(at.share, floats(at, o.y) + o.y_first, o.h, o.w, wide, o.y_pitch, o.y_row, o.border);
}

}  // namespace striate::STRIATE_ISA
