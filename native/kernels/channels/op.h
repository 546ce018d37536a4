// What ops over channels begin with: one image, a channel a lane. A pixel's channels are rounded up to whole vectors and lie side
// by side; pixels lie `pitch` floats apart, rows `row`; around them there may be a frame of zeros, which whoever writes the image
// writes too, so that windows need no special cases.
#pragma once
#include <string.h>

#include "../../run.h"
#include "../simd.h"

namespace striate::STRIATE_ISA {

constexpr int64_t CHANNEL_CACHE = 1 << 18;  // bytes that a core keeps of an image while it goes over it

static inline float* floats(const At& at, int64_t place) { return at.arena + place * L; }
static inline V load(const float* from) { return *reinterpret_cast<const VU*>(from); }
static inline void store(float* to, V value) { *reinterpret_cast<VU*>(to) = value; }

// Biases in whole vectors, behind the weights they go with; 0 where there are none.
static inline void pack_biases(const float* parameters, int64_t bias, int64_t count, float* to) {
  for (int64_t k = 0; k < up_to_lanes(count); ++k) to[k] = k < count && bias >= 0 ? parameters[bias + k] : 0.0f;
}

// A share of an image's rows, or where it has fewer than there are shares, of its channels, in multiples of `unit`.
struct Part {
  int64_t top, bottom, begin, end;
};

static inline Part part_of(Share share, int64_t rows, int64_t channels, int64_t unit) {
  if (rows >= share.count) return {begin_of(share, rows), end_of(share, rows), 0, channels};
  return {0, rows, begin_of(share, channels, unit), end_of(share, channels, unit)};
}

// A ReLU, cut off at `most`; NaN passes.
struct Ramp {
  bool on;
  float most;
  V operator()(V value) const {
    if (!on) return value;
    const V low = choose(value <= 0.0f, V{}, value);
    return choose(low > most, splat(most), low);
  }
};

// Zeros in the frame of an image of (rows, columns) pixels, `channels` floats each; a share is of its rows.
static void clear_frame(Share share, float* first, int64_t rows, int64_t columns, int64_t channels, int64_t pitch, int64_t row,
                        int64_t border) {
  const auto clear = [&](float* at, int64_t pixels) {
    for (int64_t i = 0; i < pixels; ++i) memset(at + i * pitch, 0, static_cast<size_t>(channels) * sizeof(float));
  };
  if (!border) return;
  for (int64_t i = begin_of(share, rows + 2 * border), end = end_of(share, rows + 2 * border); i < end; ++i) {
    float* at = first + (i - border) * row - border * pitch;
    if (i < border || i >= rows + border) {
      clear(at, columns + 2 * border);
    } else {
      clear(at, border);
      clear(at + (columns + border) * pitch, border);
    }
  }
}

}  // namespace striate::STRIATE_ISA
