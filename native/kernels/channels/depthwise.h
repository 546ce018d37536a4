// A convolution of each channel by itself, a filter a channel.
#pragma once
#include "op.h"

namespace striate::STRIATE_ISA {

constexpr int DEPTHWISE_PIXELS = L >= 16 ? 8 : 6;

// Weights (row, column, channel), in whole vectors; after them the biases.
static void prepare(const Program&, const ChannelDepthwise& o, const float* parameters, float* packed) {
  const int64_t window = o.r * o.s, wide = up_to_lanes(o.c);
  float* to = packed + o.packed;
  for (int64_t tap = 0; tap < window; ++tap)
    for (int64_t c = 0; c < wide; ++c) *to++ = c < o.c ? parameters[o.weight + c * window + tap] : 0.0f;
  pack_biases(parameters, o.bias, o.c, to);
}

template <int PIXELS>
static void depthwise_tile(const ChannelDepthwise& o, const float* x, const float* w, V start, float* y) {
  const int64_t wide = up_to_lanes(o.c), pixel = o.stride_w * o.x_pitch;
  V acc[PIXELS];
#pragma GCC unroll 8
  for (int j = 0; j < PIXELS; ++j) acc[j] = start;
  for (int64_t r = 0; r < o.r; ++r, x += o.dilation_h * o.x_row) {
    const float* line = x;
    for (int64_t s = 0; s < o.s; ++s, line += o.dilation_w * o.x_pitch, w += wide) {
      const V weight = load(w);
#pragma GCC unroll 8
      for (int j = 0; j < PIXELS; ++j) acc[j] += load(line + j * pixel) * weight;
    }
  }
  const Ramp ramp{o.relu != 0, static_cast<float>(o.most)};
#pragma GCC unroll 8
  for (int j = 0; j < PIXELS; ++j) store(y + j * o.y_pitch, ramp(acc[j]));
}

static void forward(const At& at, const ChannelDepthwise& o) {
  const int64_t wide = up_to_lanes(o.c);
  const float* x = floats(at, o.x) + o.x_first;
  float* y = floats(at, o.y) + o.y_first;
  const float *w = at.run.packed + o.packed, *bias = w + o.r * o.s * wide;
  clear_frame(at.share, y, o.p, o.q, wide, o.y_pitch, o.y_row, o.border);
  for (int64_t p = begin_of(at.share, o.p), end = end_of(at.share, o.p); p < end; ++p) {
    const float* from = x + p * o.stride_h * o.x_row;
    float* to = y + p * o.y_row;
    int64_t q = 0;  // all channels of a few pixels: what is read lies side by side
    for (; q + DEPTHWISE_PIXELS <= o.q; q += DEPTHWISE_PIXELS)
      for (int64_t c = 0; c < wide; c += L)
        depthwise_tile<DEPTHWISE_PIXELS>(o, from + q * o.stride_w * o.x_pitch + c, w + c, load(bias + c), to + q * o.y_pitch + c);
    for (; q < o.q; ++q)
      for (int64_t c = 0; c < wide; c += L) depthwise_tile<1>(o, from + q * o.stride_w * o.x_pitch + c, w + c, load(bias + c), to + q * o.y_pitch + c);
  }
}

}  // namespace striate::STRIATE_ISA
