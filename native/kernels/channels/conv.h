// A direct convolution over channels, with the bias, the sum with another image and the ReLU that are fused with it. 1×1 filters, groups,
// strides, dilation: a window is a few runs of floats.
#pragma once
#include "product.h"

namespace striate::STRIATE_ISA {

constexpr int64_t FILTER_PANEL = PRODUCT_FILTERS * L;  // filters that are packed together

// Weights as they are read: (group, panel, row, column, channel, filter); after them the biases, in whole vectors.
static void prepare(const Program&, const ChannelConv& o, const float* parameters, float* packed) {
  const int64_t channels = o.c / o.groups, filters = o.k / o.groups, window = o.r * o.s, wide = up_to_lanes(filters);
  const float* weight = parameters + o.weight;
  float* to = packed + o.packed;
  for (int64_t g = 0; g < o.groups; ++g)
    for (int64_t k = 0; k < wide; k += FILTER_PANEL) {
      const int64_t width = wide - k < FILTER_PANEL ? wide - k : FILTER_PANEL;
      for (int64_t tap = 0; tap < window; ++tap)
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t i = 0; i < width; ++i)
            *to++ = k + i < filters ? weight[((g * filters + k + i) * channels + c) * window + tap] : 0.0f;
    }
  pack_biases(parameters, o.bias, o.k, to);
}

template <int PIXELS, int FILTERS>
static void channel_tile(const ChannelConv& o, const Reads& reads, const float* x, const float* w, const float* bias, float* y,
                      const float* second) {
  V acc[PIXELS][FILTERS];
#pragma GCC unroll 12
  for (int j = 0; j < PIXELS; ++j)
#pragma GCC unroll 2
    for (int i = 0; i < FILTERS; ++i) acc[j][i] = load(bias + i * L);
  multiply(acc, reads, x, w);
  const Ramp ramp{o.relu != 0, static_cast<float>(o.most)};
#pragma GCC unroll 12
  for (int j = 0; j < PIXELS; ++j)
#pragma GCC unroll 2
    for (int i = 0; i < FILTERS; ++i) {
      V value = acc[j][i];
      if (second) value += load(second + j * o.second_pitch + i * L);
      store(y + j * o.y_pitch + i * L, ramp(value));
    }
}

// Outputs of rows top … bottom, columns left … right.
struct Area {
  int64_t top, bottom, left, right;
};

// An area, filters of the panels begin … end of one group.
static void channel_panels(const At& at, const ChannelConv& o, int64_t g, int64_t begin, int64_t end, const Area& area) {
  const int64_t channels = o.c / o.groups, filters = o.k / o.groups, wide = up_to_lanes(filters), taps = o.r * o.s * channels;
  const bool joined = o.x_pitch == channels && o.dilation_w == 1;  // a filter's row is one run
  const Reads reads{o.stride_w * o.x_pitch, o.r, o.dilation_h * o.x_row, joined ? 1 : o.s, o.dilation_w * o.x_pitch,
                    joined ? o.s * channels : channels};
  const float* x = floats(at, o.x) + o.x_first + g * channels;
  float* y = floats(at, o.y) + o.y_first + g * filters;
  const float* second = o.second >= 0 ? floats(at, o.second) + o.second_first + g * filters : nullptr;
  const float* w = at.run.packed + o.packed + g * wide * taps;
  const float* bias = at.run.packed + o.packed + o.groups * wide * taps + g * filters;
  const int64_t columns = area.right - area.left, tiles = (columns + PRODUCT_PIXELS - 1) / PRODUCT_PIXELS;
  for (int64_t k = begin * FILTER_PANEL; k < end * FILTER_PANEL && k < wide; k += FILTER_PANEL)
    for (int64_t p = area.top; p < area.bottom; ++p)
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t q = area.left + tile * columns / tiles, pixels = area.left + (tile + 1) * columns / tiles - q;
        const float* from = x + p * o.stride_h * o.x_row + q * reads.pixel;
        float* to = y + p * o.y_row + q * o.y_pitch + k;
        const float* more = second ? second + p * o.second_row + q * o.second_pitch + k : nullptr;
        with_pixels<PRODUCT_PIXELS>(pixels, [&]<int PIXELS>() {
          if (k + FILTER_PANEL <= wide) channel_tile<PIXELS, 2>(o, reads, from, w + k * taps, bias + k, to, more);
          else channel_tile<PIXELS, 1>(o, reads, from, w + k * taps, bias + k, to, more);
        });
      }
}

// Bytes of an output's input, and where filters are few enough to stay beside it, of the output itself, which each panel writes a part of.
static int64_t bytes_of_pixel(const ChannelConv& o) {
  const int64_t bytes = static_cast<int64_t>(sizeof(float)), filters = o.k * (o.c / o.groups) * o.r * o.s * bytes;
  const int64_t x = o.stride_h * o.stride_w * o.x_pitch * bytes, y = (o.second >= 0 ? 2 : 1) * o.y_pitch * bytes;
  return filters <= CHANNEL_CACHE / 2 ? x + y : x;
}

// An area in pieces that stay in a core's cache while all filters go over them: some rows, or of one long row some columns.
template <class F>
static void in_pieces(const ChannelConv& o, const Area& area, F with) {
  const int64_t pixels = CHANNEL_CACHE / bytes_of_pixel(o);
  if (o.by_filters) return with(area);
  if (o.p > 1) {
    const int64_t rows = pixels / o.q > 1 ? pixels / o.q : 1;
    for (int64_t p = area.top; p < area.bottom; p += rows)
      with(Area{p, p + rows < area.bottom ? p + rows : area.bottom, area.left, area.right});
  } else {
    const int64_t columns = (pixels / PRODUCT_PIXELS > 4 ? pixels / PRODUCT_PIXELS : 4) * PRODUCT_PIXELS;
    for (int64_t q = area.left; q < area.right; q += columns)
      with(Area{area.top, area.bottom, q, q + columns < area.right ? q + columns : area.right});
  }
}

static void forward(const At& at, const ChannelConv& o) {
  const Share share = at.share;
  const int64_t panels = (up_to_lanes(o.k / o.groups) + FILTER_PANEL - 1) / FILTER_PANEL;
  clear_frame(share, floats(at, o.y) + o.y_first, o.p, o.q, up_to_lanes(o.k), o.y_pitch, o.y_row, o.border);
  Area area{0, o.p, 0, o.q};
  if (!o.by_filters && o.p > 1) area.top = begin_of(share, o.p), area.bottom = end_of(share, o.p);
  if (!o.by_filters && o.p == 1) area.left = begin_of(share, o.q, PRODUCT_PIXELS), area.right = end_of(share, o.q, PRODUCT_PIXELS);
  const int64_t first = o.by_filters ? begin_of(share, o.groups * panels) : 0;
  const int64_t last = o.by_filters ? end_of(share, o.groups * panels) : o.groups * panels;
  in_pieces(o, area, [&](const Area& piece) {
    for (int64_t g = first / panels; g * panels < last; ++g) {
      const int64_t begin = first > g * panels ? first - g * panels : 0, end = last < (g + 1) * panels ? last - g * panels : panels;
      channel_panels(at, o, g, begin, end, piece);
    }
  });
}

}  // namespace striate::STRIATE_ISA
