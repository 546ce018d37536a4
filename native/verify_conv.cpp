// The extents of a convolution: its windows, the images laid out one by one, its pool and the winners of it.
#include <algorithm>

#include "check.h"

namespace striate {
namespace {

// Offsets of a window's taps, from the first window to the last: all inside (channels, height, width).
void taps(const Check& check, const char* name, int64_t at, int64_t channels, int64_t r, int64_t s, int64_t height, int64_t width,
          int64_t rows, int64_t columns, int64_t down, int64_t across) {
  check.number("groups and strides", std::min({channels, r, s, rows, columns, down, across}), {1, LARGEST});
  const int64_t image = check.times(channels, height, width), count = check.times(channels, r, s);
  const int64_t last = check.times(rows - 1, down, width) + check.times(columns - 1, across);
  if (last >= image) check.fail(std::string(name) + ": the last window begins beyond its image");
  const int32_t* offset = check.table(name, at, count, {0, image - 1 - last});
  // Kernels step from tap to tap, so these must be as regular as windows are.
  const int64_t next_row = r > 1 ? offset[s] : 0, next_column = s > 1 ? offset[1] : 0;
  for (int64_t i = 0; i < count; ++i)
    if (offset[i] != i / (r * s) * height * width + i / s % r * next_row + i % s * next_column)
      check.fail(std::string(name) + "[" + std::to_string(i) + "] is not that of a window");
}

void conv_few(const Check& check, const Conv& o) {
  check.size("image_rows", o.image_rows, "image_width", o.image_width, "image_pitch", o.image_pitch, "few_lanes", o.few_lanes, "few_run", o.few_run);
  check.same("few_lanes", o.few_lanes, up(o.k, RUN));
  check.number("few_run", o.few_run, {1, check.times(o.s, o.image_pitch)});
  const int64_t weights = check.times(check.times(o.r, o.few_run) + 1, o.few_lanes);
  check.table("few_index", o.few_index, weights, {-1, check.frame().parameters - 1});
  check.packed("few_packed", o.few_packed, weights);
  // An image a lane: as many floats as the arena's vectors hold.
  const int64_t image = check.times(o.image_rows, o.image_width) + RUN, row = up(check.times(o.q, o.few_lanes), RUN);
  check.arena("few_x", o.few_x, image);
  check.arena("few_y", o.few_y, check.times(o.p, row));
  check.table("few_col_map", o.few_col_map, row, {-1, (o.k - 1) * o.p * o.q + o.q - 1});
  const int64_t last = check.times(o.p - 1, o.stride_h, o.image_width) + check.times(o.q - 1, o.stride_w, o.image_pitch) +
                       check.times(o.r - 1, o.image_width) + o.few_run;
  if (last > image) check.fail("the last window of a single image ends beyond it");
}

void conv_images(const Check& check, const Conv& o) {
  check.same("image_width % lanes", o.image_width % check.lanes(), 0);
  check.table("image_row_map", o.image_row_map, o.image_rows, {-1, o.h - 1});
  check.table("image_col_map", o.image_col_map, o.image_width, {-1, check.times(o.c - 1, o.h, o.w) + o.w - 1});
}

void conv_winners(const Check& check, const Conv& o) {
  check.size("image_rows", o.image_rows, "image_width", o.image_width, "image_pitch", o.image_pitch, "image_run", o.image_run);
  conv_images(check, o);
  check.same("groups", o.groups, 1);
  check.same("image_run % 16", o.image_run % RUN, 0);
  const int64_t weights = check.times(o.c, o.r, o.s), image = check.times(o.image_rows, o.image_width) + RUN;
  check.table("image_index", o.image_index, check.times(o.r, o.image_run), {-1, weights - 1});
  check.arena("image_x", o.image_x, image);
  check.arena("image_dw", o.image_dw, (check.times(o.k, o.r, o.image_run) + check.lanes() - 1) / check.lanes());
  // Lists of winners, two floats each, and their lengths.
  check.arena("d_map", o.d_map, check.times(o.k, 2 * check.times(o.pool_p, o.pool_q) + 1));
  const auto last = [&](int64_t width, int64_t pitch, int64_t run) {
    return check.times(o.p - 1, o.stride_h, width) + check.times(o.q - 1, o.stride_w, pitch) + check.times(o.r - 1, width) + run;
  };
  if (last(o.image_width, o.image_pitch, o.image_run) > image) check.fail("the last run of an image ends beyond it");
  if (o.dx == NONE) return;
  check.size("dx_width", o.dx_width, "dx_pitch", o.dx_pitch, "dx_run", o.dx_run);
  check.same("dx_width % lanes", o.dx_width % check.lanes(), 0);
  check.same("dx_run % 16", o.dx_run % RUN, 0);
  const int64_t dx_image = check.times(o.image_rows, o.dx_width) + RUN;
  check.table("dx_col_map", o.dx_col_map, o.dx_width, {-1, check.times(o.c - 1, o.h, o.w) + o.w - 1});
  check.table("dx_index", o.dx_index, check.times(o.r, o.dx_run), {-1, weights - 1});
  check.arena("image_dx", o.image_dx, dx_image);
  check.packed("back_packed", o.back_packed, check.times(o.k, o.r, o.dx_run));
  if (last(o.dx_width, o.dx_pitch, o.dx_run) > dx_image) check.fail("the last run of dx ends beyond it");
  const int64_t places = check.times(check.times(o.p - 1, o.stride_h) + 1, check.times(o.q - 1, o.stride_w) + 1);
  check.maybe("image_order", o.image_order, (places + 2) / 2 * 2 + 2 * check.times(o.k, o.pool_p, o.pool_q));
}

void conv_pool(const Check& check, const Conv& o) {
  check.size("pool_p", o.pool_p, "pool_q", o.pool_q);
  check.same("pool_p", o.pool_p, o.p / 2);
  check.same("pool_q", o.pool_q, o.q / 2);
  if (o.in_registers && (check.training() || o.q > POOLED_WIDTH)) check.fail("only rows of inference up to " + std::to_string(POOLED_WIDTH) + " outputs are pooled in registers");
  if (!o.in_registers || o.few_index != NONE) check.arena("map", o.map, check.times(o.k, o.p, o.q));
  if (check.training() && !o.winners) check.arena("d_map", o.d_map, check.times(o.k, o.p, o.q));
}

void conv_back(const Check& check, const Conv& o, int64_t weights) {
  check.size("back_h", o.back_h, "back_w", o.back_w, "back_p", o.back_p, "back_q", o.back_q);
  check.size("back_stride_h", o.back_stride_h, "back_stride_w", o.back_stride_w);
  check.table("back_row_map", o.back_row_map, o.back_h, {-1, o.p - 1});
  check.table("back_col_map", o.back_col_map, o.back_w, {-1, o.q - 1});
  taps(check, "back_taps", o.back_taps, o.k / o.groups, o.r, o.s, o.back_h, o.back_w, o.back_p, o.back_q, o.back_stride_h, o.back_stride_w);
  check.table("back_pack", o.back_pack, weights, {0, check.frame().parameters - 1});
  check.packed("back_packed", o.back_packed, weights);
  check.arena("back", o.back, check.times(o.k, o.back_h, o.back_w));
  if (o.back_out != NONE) {
    check.arena("back_out", o.back_out, check.times(o.c, o.back_p, o.back_q));
    check.same("back_p", o.back_p, o.expanded_h);
    check.same("back_q", o.back_q, o.expanded_w);
  } else {
    check.same("back_p", o.back_p, o.h);
    check.same("back_q", o.back_q, o.w);
  }
}

}  // namespace

void extents(const Check& check, const Conv& o) {
  check.size("c", o.c, "h", o.h, "w", o.w, "k", o.k, "p", o.p, "q", o.q, "r", o.r, "s", o.s);
  check.size("stride_h", o.stride_h, "stride_w", o.stride_w, "groups", o.groups, "expanded_h", o.expanded_h, "expanded_w", o.expanded_w);
  check.flag("relu", o.relu);
  check.flag("pooled", o.pooled);
  check.flag("winners", o.winners);
  check.flag("in_registers", o.in_registers);
  check.number("groups", o.groups, {1, LARGEST});
  if (o.c % o.groups || o.k % o.groups) check.fail("groups do not divide its channels");
  check.ends(o, check.times(o.c, o.h, o.w), o.pooled ? check.times(o.k, o.pool_p, o.pool_q) : check.times(o.k, o.p, o.q));
  const int64_t weights = check.times(o.k, o.c / o.groups, o.r, o.s);
  check.parameters("weight", o.weight, weights);
  if (o.bias != NONE) check.parameters("bias", o.bias, o.k);
  if (o.expanded != NONE) {
    check.arena("expanded", o.expanded, check.times(o.c, o.expanded_h, o.expanded_w));
    check.table("row_map", o.row_map, o.expanded_h, {-1, o.h - 1});
    check.table("col_map", o.col_map, o.expanded_w, {-1, o.w - 1});
  } else {
    check.same("expanded_h", o.expanded_h, o.h);
    check.same("expanded_w", o.expanded_w, o.w);
  }
  taps(check, "taps", o.taps, o.c / o.groups, o.r, o.s, o.expanded_h, o.expanded_w, o.p, o.q, o.stride_h, o.stride_w);
  check.table("pack", o.pack, weights, {0, check.frame().parameters - 1});
  check.packed("packed", o.packed, weights);
  if (o.pooled) conv_pool(check, o);
  else if (o.in_registers) check.fail("in_registers says how a pool is made, and there is none");
  if (o.winners && (!o.pooled || !check.training())) check.fail("winners are those of a pool, in training");
  if (o.few_index != NONE) {
    conv_few(check, o);
    conv_images(check, o);
  }
  if (o.winners) conv_winners(check, o);
  else if (o.dx != NONE) conv_back(check, o, weights);
}

}  // namespace striate
