// An image in another layout.
#pragma once
#include "op.h"

namespace striate::STRIATE_ISA {

// y = x, number by number, each side by its strides; `splat`: each into all lanes of a vector.
static void forward(const At& at, const Relayout& o) {
  const float* x = floats(at, o.x) + o.x_first;
  float* y = floats(at, o.y) + o.y_first;
  clear_frame(at.share, y, o.h, o.w, o.framed, o.y_w, o.y_h, o.border);
  const auto [top, bottom, begin, end] = part_of(at.share, o.h, o.c, 1);
  for (int64_t h = top; h < bottom; ++h) {
    const float* line = x + h * o.x_h;
    float* to = y + h * o.y_h;
    if (o.splat) {
      for (int64_t c = begin; c < end; ++c)
        for (int64_t w = 0; w < o.w; ++w) store(to + c * o.y_c + w * o.y_w, splat(line[c * o.x_c + w * o.x_w]));
    } else if (o.x_c == 1 && o.y_c == 1) {
      for (int64_t w = 0; w < o.w; ++w)
        memmove(to + w * o.y_w + begin, line + w * o.x_w + begin, static_cast<size_t>(end - begin) * sizeof(float));
    } else if (o.x_w == 1 && o.y_w == 1) {
      for (int64_t c = begin; c < end; ++c) memmove(to + c * o.y_c, line + c * o.x_c, static_cast<size_t>(o.w) * sizeof(float));
    } else {
      for (int64_t c = begin; c < end; ++c)
        for (int64_t w = 0; w < o.w; ++w) to[c * o.y_c + w * o.y_w] = line[c * o.x_c + w * o.x_w];
    }
  }
}

}  // namespace striate::STRIATE_ISA
