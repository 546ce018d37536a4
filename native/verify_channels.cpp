// Extents of ops over channels: see verify.h.
#include "check.h"

namespace striate {
namespace {

int64_t in_vectors(const Check& check, int64_t channels) { return up(channels, check.lanes()); }

// An image of (rows, columns) pixels of `wide` floats, with a frame, beginning `first` floats from its place.
struct Image {
  const char* name;
  int64_t place, first, pitch, row;
};

// So many rows or columns, `apart` floats each, that lie in front of an image's first pixel or behind it: kernels count from there.
void reach(const Check& check, const char* name, int64_t count, int64_t apart) {
  check.size(name, count);
  check.size(name, check.times(count, apart));
}

void image(const Check& check, const Image& o, int64_t rows, int64_t columns, int64_t wide, int64_t frame) {
  check.size("rows", rows, "columns", columns, "floats of a pixel", wide, "first", o.first, "pitch", o.pitch, "row", o.row, "border", frame);
  check.number("a row", o.row, {check.times(columns + 2 * frame, o.pitch), LARGEST});
  if (rows < 1 || columns < 1 || o.pitch < 1) check.fail(std::string(o.name) + " has no pixels");
  reach(check, "border", frame, o.row);
  check.floats(o.name, o.place, o.first - check.times(frame, o.row) - check.times(frame, o.pitch),
               check.plus(o.first, check.times(rows - 1 + frame, o.row), check.times(columns - 1 + frame, o.pitch), wide));
}

template <class O>
Image x_of(const O& o) { return {"x", o.x, o.x_first, o.x_pitch, o.x_row}; }

template <class O>
void y_image(const Check& check, const O& o, int64_t rows, int64_t columns, int64_t channels) {
  if (o.y_pitch < in_vectors(check, channels)) check.fail("pixels of y overlap");
  image(check, {"y", o.y, o.y_first, o.y_pitch, o.y_row}, rows, columns, in_vectors(check, channels), o.border);
}

template <class O>
void second_image(const Check& check, const O& o) {
  if (o.second != NONE) image(check, {"second", o.second, o.second_first, o.second_pitch, o.second_row}, o.p, o.q, in_vectors(check, o.k), 0);
}

// What the windows of a convolution read: `channels` floats of each of their pixels.
template <class O>
void windows(const Check& check, const O& o, int64_t channels) {
  check.size("p", o.p, "q", o.q, "r", o.r, "s", o.s, "stride_h", o.stride_h, "stride_w", o.stride_w, "dilation_h", o.dilation_h, "dilation_w", o.dilation_w);
  if (o.r < 1 || o.s < 1 || o.stride_h < 1 || o.stride_w < 1 || o.dilation_h < 1 || o.dilation_w < 1) check.fail("it has no windows");
  const int64_t rows = check.plus(check.times(o.p - 1, o.stride_h), check.times(o.r - 1, o.dilation_h), 1);
  const int64_t columns = check.plus(check.times(o.q - 1, o.stride_w), check.times(o.s - 1, o.dilation_w), 1);
  image(check, x_of(o), rows, columns, channels, 0);
}

template <class O>
void ramp(const Check& check, const O& o) {
  check.flag("relu", o.relu);
  check.finite("most", o.most);
}

template <class O>
void pooled(const Check& check, const O& o) {
  check.size("c", o.c, "p", o.p, "q", o.q, "r", o.r, "s", o.s, "stride_h", o.stride_h, "stride_w", o.stride_w);
  check.size("dilation_h", o.dilation_h, "dilation_w", o.dilation_w, "before_h", o.before_h, "before_w", o.before_w);
  if (o.stride_h < 1 || o.stride_w < 1 || o.dilation_h < 1 || o.dilation_w < 1) check.fail("it has no windows");
  reach(check, "rows of windows", check.plus(o.before_h, check.times(o.p, o.stride_h), check.times(o.r, o.dilation_h)), o.x_row);
  reach(check, "columns of windows", check.plus(o.before_w, check.times(o.q, o.stride_w), check.times(o.s, o.dilation_w)), o.x_pitch);
  image(check, x_of(o), o.h, o.w, in_vectors(check, o.c), 0);
  y_image(check, o, o.p, o.q, o.c);
}

}  // namespace

void extents(const Check& check, const Relayout& o) {
  check.size("c", o.c, "h", o.h, "w", o.w, "x_first", o.x_first, "x_c", o.x_c, "x_h", o.x_h, "x_w", o.x_w);
  check.size("y_first", o.y_first, "y_c", o.y_c, "y_h", o.y_h, "y_w", o.y_w, "border", o.border, "framed", o.framed);
  check.flag("splat", o.splat);
  if (o.c < 1 || o.h < 1 || o.w < 1) check.fail("it moves nothing");
  const auto behind = [&](int64_t first, int64_t c, int64_t h, int64_t w, int64_t last) {
    return check.plus(first, check.times(o.c - 1, c), check.times(o.h - 1, h), check.times(o.w - 1, w), last);
  };
  check.floats("x", o.x, o.x_first, behind(o.x_first, o.x_c, o.x_h, o.x_w, 1));
  check.floats("y", o.y, o.y_first, behind(o.y_first, o.y_c, o.y_h, o.y_w, o.splat ? check.lanes() : 1));
  check.floats("numbers of y", o.y, 0, check.times(o.c, o.h, o.w));
  if (o.border) image(check, {"y", o.y, o.y_first, o.y_w, o.y_h}, o.h, o.w, o.framed, o.border);
}

void extents(const Check& check, const ChannelConv& o) {
  check.size("c", o.c, "k", o.k, "groups", o.groups);
  if (o.groups < 1 || o.c < 1 || o.k < 1) check.fail("it has no filters");
  check.same("c % groups", o.c % o.groups, 0);
  check.same("k % groups", o.k % o.groups, 0);
  if (o.groups > 1) check.same("filters of a group, in whole vectors", o.k / o.groups % check.lanes(), 0);
  check.flag("by_filters", o.by_filters);
  ramp(check, o);
  windows(check, o, o.c);
  y_image(check, o, o.p, o.q, o.k);
  second_image(check, o);
  const int64_t taps = check.times(o.c / o.groups, o.r, o.s);
  check.parameters("weight", o.weight, check.times(o.k, taps));
  if (o.bias != NONE) check.parameters("bias", o.bias, o.k);
  check.packed("packed", o.packed, check.times(in_vectors(check, o.k), taps + 1));
}

void extents(const Check& check, const ChannelWinograd& o) {
  check.size("c", o.c, "h", o.h, "w", o.w, "k", o.k, "p", o.p, "q", o.q);
  if (o.c < 1 || o.k < 1 || o.p < 1 || o.q < 1) check.fail("it has no filters");
  if (o.kernel != 3 && o.kernel != 5) check.fail("kernel must be 3 or 5, and is " + std::to_string(o.kernel));
  reach(check, "before_h", o.before_h, o.x_row);
  reach(check, "before_w", o.before_w, o.x_pitch);
  check.number("block", o.block, {1, LARGEST});
  check.flag("pooled", o.pooled);
  check.flag("staged", o.staged);
  ramp(check, o);
  image(check, x_of(o), o.h, o.w, in_vectors(check, o.c), 0);
  if (o.pooled && (o.p < 2 || o.q < 2)) check.fail("there are no 2×2 outputs to pool");
  if (o.pooled && o.second != NONE) check.fail("what is pooled adds nothing");
  y_image(check, o, o.pooled ? o.p / 2 : o.p, o.pooled ? o.q / 2 : o.q, o.k);
  second_image(check, o);
  check.parameters("weight", o.weight, check.times(check.times(o.k, o.c), o.kernel, o.kernel));
  if (o.bias != NONE) check.parameters("bias", o.bias, o.k);
  check.packed("packed", o.packed, check.times(in_vectors(check, o.k), check.times(WINOGRAD_POINTS, o.c) + 1));
  const int64_t outputs = 7 - o.kernel, tiles = check.times((o.p + outputs - 1) / outputs, (o.q + outputs - 1) / outputs);
  const auto of_points = [&](int64_t tile) { return check.times(WINOGRAD_POINTS, check.plus(check.times(o.block, tile + TILE_GAP), TILE_GAP)); };
  const int64_t turned = of_points(in_vectors(check, o.c)), products = of_points(GROUP_VECTORS * check.lanes());
  if (o.staged) {
    check.number("block", o.block, {tiles, LARGEST});
    check.floats("points", o.points, 0, turned);
  }
  check.number("scratch of a thread", check.frame().scratch, {check.plus(products, o.staged ? 0 : turned), LARGEST});
}

void extents(const Check& check, const ChannelDepthwise& o) {
  check.size("c", o.c);
  if (o.c < 1) check.fail("it has no filters");
  ramp(check, o);
  windows(check, o, in_vectors(check, o.c));
  y_image(check, o, o.p, o.q, o.c);
  check.parameters("weight", o.weight, check.times(o.c, o.r, o.s));
  if (o.bias != NONE) check.parameters("bias", o.bias, o.c);
  check.packed("packed", o.packed, check.times(in_vectors(check, o.c), check.times(o.r, o.s) + 1));
}

void extents(const Check& check, const ChannelMaxPool& o) { pooled(check, o); }

void extents(const Check& check, const ChannelAveragePool& o) {
  pooled(check, o);
  check.table("counts", o.counts, check.times(o.p, o.q), {0, ANY_ENTRY});
}

void extents(const Check& check, const ChannelLinear& o) {
  check.size("c", o.c, "k", o.k);
  check.flag("relu", o.relu);
  check.flag("together", o.together);
  check.floats("x", o.x, 0, o.c);
  check.floats("y", o.y, 0, o.k);
  check.parameters("weight", o.weight, check.times(o.k, o.c));
  if (o.bias != NONE) check.parameters("bias", o.bias, o.k);
}

void extents(const Check& check, const ChannelSoftmax& o) {
  check.size("c", o.c);
  if (o.c < 1) check.fail("it has no numbers");
  check.flag("logarithm", o.logarithm);
  check.floats("x", o.x, 0, o.c);
  check.floats("y", o.y, 0, o.c);
}

void extents(const Check& check, const ChannelResponseNorm& o) {
  check.size("c", o.c, "h", o.h, "w", o.w, "size", o.size);
  if (o.size < 1) check.fail("size must be at least 1");
  image(check, x_of(o), o.h, o.w, in_vectors(check, o.c), 0);
  y_image(check, o, o.h, o.w, o.c);
  check.number("scratch of a thread", check.frame().scratch, {in_vectors(check, o.c) + o.size + 2 * check.lanes(), LARGEST});
  check.finite("alpha", o.alpha);
  check.finite("beta", o.beta);
  check.finite("k", o.k);
}

}  // namespace striate
