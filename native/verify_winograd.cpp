// The extents of a convolution by Winograd's tiles: what it reads by places is held inside x by its kernels, all else is proved here.
#include "check.h"

namespace striate {
namespace {

constexpr int64_t MOST_LANES_TURNED = 32;  // an odd number of vectors of up to 16 lanes holds at most c + 31 channels
constexpr int64_t MOST_TILES = int64_t{1} << 29;        // two stages a block are counted in 31 bits

void winograd_back(const Check& check, const Winograd& o) {
  check.number("back_tiles", o.back_tiles, {1, LARGEST});
  const int64_t turned = check.times(o.back_tiles, o.c + MOST_LANES_TURNED) + WINOGRAD_GAP;
  check.arena("turned", o.turned, check.times(WINOGRAD_POINTS, turned));
  check.arena("upstream", o.upstream, check.times(WINOGRAD_POINTS, check.times(o.k, o.back_tiles) + WINOGRAD_GAP));
  check.arena("d_filters", o.d_filters, check.times(o.k, WINOGRAD_POINTS, WINOGRAD_CHANNELS));
  if (o.dx != NONE) check.arena("d_products", o.d_products, check.times(o.c, WINOGRAD_POINTS, o.back_tiles));
  if (o.pooled) {
    check.arena("map", o.map, check.times(o.k, o.p, o.q));
    check.arena("d_map", o.d_map, check.times(o.k, o.p, o.q));
  } else {
    check.arena("dy", o.dy, check.times(o.k, o.p, o.q));
  }
}

}  // namespace

void extents(const Check& check, const Winograd& o) {
  check.size("c", o.c, "h", o.h, "w", o.w, "k", o.k, "p", o.p, "q", o.q, "top", o.top, "left", o.left);
  if (o.r != 3 && o.r != 5) check.fail("r must be 3 or 5, and is " + std::to_string(o.r));
  check.flag("relu", o.relu);
  check.flag("pooled", o.pooled);
  if (o.pooled) {
    check.same("pool_p", o.pool_p, o.p / 2);
    check.same("pool_q", o.pool_q, o.q / 2);
    if (!check.training()) check.same("map", o.map, NONE);
  }
  check.ends(o, check.times(o.c, o.h, o.w), o.pooled ? check.times(o.k, o.pool_p, o.pool_q) : check.times(o.k, o.p, o.q));
  check.parameters("weight", o.weight, check.times(o.k, o.c, o.r, o.r));
  if (o.bias != NONE) check.parameters("bias", o.bias, o.k);
  check.packed("packed", o.packed, check.times(WINOGRAD_POINTS, check.times(up(o.k, WINOGRAD_PANEL), o.c) + WINOGRAD_FILTER_GAP));
  const int64_t outputs = 7 - o.r, all = check.times(up(o.p, outputs) / outputs, up(o.q, outputs) / outputs);
  check.number("its number of tiles", all, {0, MOST_TILES});
  check.number("tiles", o.tiles, {1, LARGEST});
  check.arena("points", o.points, check.times(WINOGRAD_POINTS, check.times(o.c, o.tiles) + WINOGRAD_GAP));
  check.arena("products", o.products, check.times(o.k, WINOGRAD_POINTS, o.tiles));
  if (check.training()) winograd_back(check, o);
}

}  // namespace striate
