// A convolution turned into calls of kernels, with the ReLU and the pool that are fused with it: dense, image by image, and
// backward through the winners of the pool. Included by executor.cpp inside the namespace of one instruction set.

// Whether a micro-batch holds so few images that they are better convolved one by one, output channels in the lanes.
static bool few(const Run& run, const Conv& o, int64_t micro_batch) {
  return o.few_index >= 0 && 5 * run.valid(micro_batch) * o.few_lanes < 4 * L * o.k;
}

static void expand_planes(const V* x, V* out, int64_t begin, int64_t end, int64_t H, int64_t W, int64_t HE, int64_t WE,
                          const int32_t* row, const int32_t* col) {
  expand(x + begin * H * W, out + begin * HE * WE, end - begin, H, W, HE, WE, row, col);
}

// The pool after a convolution, from `map`.
static void pool_map(const Conv& o, V* a, Share share) {
  const int64_t k = share.begin(o.k);
  max_pool_pairs(a + o.map + k * o.p * o.q, a + o.y + k * o.pool_p * o.pool_q, share.end(o.k) - k, o.p, o.q, o.pool_p, o.pool_q);
}

// Stage 0 lays x out, 1 convolves, 2 is the pool after it.
static void conv_forward(const Run& run, const Conv& o, V* a, int stage, Share share) {
  const int32_t* table = run.program.table;
  const V* x = a + (o.expanded >= 0 ? o.expanded : o.x);
  if (stage == 0)
    return expand_planes(a + o.x, a + o.expanded, share.begin(o.c), share.end(o.c), o.h, o.w, o.expanded_h, o.expanded_w,
                         table + o.row_map, table + o.col_map);
  if (stage == 2) return pool_map(o, a, share);
  const int64_t groups = o.groups, per_in = o.c / groups, per_out = o.k / groups, taps = per_in * o.r * o.s;
  V* y = a + (o.pooled && !o.in_registers ? o.map : o.y);
  for (int64_t g = 0; g < groups; ++g) {
    const float* bias = o.bias >= 0 ? run.call.parameters + o.bias + g * per_out : nullptr;
    const int64_t map = o.in_registers ? o.pool_p * o.pool_q : o.p * o.q;
    convolve({x + g * per_in * o.expanded_h * o.expanded_w, y + g * per_out * map, per_out, o.p, o.q, o.expanded_w,
              per_in * o.expanded_h * o.expanded_w * static_cast<int64_t>(sizeof(V)), o.stride_h, o.stride_w, taps, o.r, o.s,
              o.expanded >= 0 ? table + o.row_map : nullptr, table + o.taps,
              run.packed + o.packed + g * per_out * taps, bias, o.relu != 0, false, o.in_registers != 0},
             share);
  }
}

// Weights (filter row, float of its run, output channel), and the biases after them.
static void pack_few(const Run& run, const Conv& o) {
  const int32_t* index = run.program.table + o.few_index;
  for (int64_t j = 0; j < (o.r * o.few_run + 1) * o.few_lanes; ++j)
    run.packed[o.few_packed + j] = index[j] < 0 ? 0.0f : run.call.parameters[index[j]];
}

// Stage 0 lays x out image by image, 1 convolves, 2 turns y into lanes, 3 is the pool after it.
static void few_forward(const Run& run, const Conv& o, V* a, int64_t micro_batch, int stage, Share share) {
  const int32_t* table = run.program.table;
  const int64_t width = o.image_width, image = o.image_rows * width + RUN, lanes = o.few_lanes;
  const int64_t y_width = (o.q * lanes + RUN - 1) / RUN * RUN, y_image = o.p * y_width;
  const int images = run.valid(micro_batch);
  auto *x = reinterpret_cast<float*>(a + o.few_x), *y = reinterpret_cast<float*>(a + o.few_y);
  if (stage == 0)
    return to_images(a + o.x, x, o.w, width, image, table + o.image_row_map, table + o.image_col_map,
                     share.begin(o.image_rows), share.end(o.image_rows), images);
  if (stage == 2)
    return from_images(y, a + (o.pooled ? o.map : o.y), o.q, y_width, y_image, nullptr, table + o.few_col_map,
                       share.begin(o.p), share.end(o.p), false, true, images);
  if (stage == 3) return pool_map(o, a, share);
  const float* w = run.packed + o.few_packed;
  for (int l = 0; l < images; ++l)
    few_convolve({x + l * image, y + l * y_image, o.q, y_width, lanes, width, o.stride_h * width,
                  o.stride_w * o.image_pitch, o.r, o.few_run, w, w + o.r * o.few_run * lanes, o.relu != 0},
                 share.begin(o.p), share.end(o.p));
}

// dy (K, places), masked by the ReLU that was fused if there is one (y is what it gave); db beside it, unless bias is null.
static void through_relu(const V* y, V* dy, int64_t places, bool relu, float* bias, int64_t begin, int64_t end) {
  for (int64_t k = begin; k < end; ++k) {
    V total{};
    for (int64_t i = k * places; i < (k + 1) * places; ++i) {
      if (relu) dy[i] = choose(y[i] > 0.0f, dy[i], V{});
      total += dy[i];
    }
    if (bias) bias[k] += horizontal_sum(total);
  }
}

static float* place_in(float* slot, int64_t at) { return at >= 0 ? slot + at : nullptr; }

// Stage 0 goes back through the pool, and the ReLU before it with db; 1 through the ReLU, and lays dy out; 2 makes dw and dx.
static void conv_backward(const Run& run, const Conv& o, V* a, float* slot, int stage, Share share) {
  const int32_t* table = run.program.table;
  const V* x = a + (o.expanded >= 0 ? o.expanded : o.x);
  V* dy = a + (o.pooled ? o.d_map : o.dy);
  float* bias = place_in(slot, o.bias);
  if (stage == 0) {
    const int64_t k = share.begin(o.k), end = share.end(o.k), map = o.p * o.q, pool = o.pool_p * o.pool_q;
    if (o.p != 2 * o.pool_p || o.q != 2 * o.pool_q) memset(dy + k * map, 0, (end - k) * map * sizeof(V));
    return max_pool_pairs_backward(a + o.map + k * map, a + o.y + k * pool, a + o.dy + k * pool, dy + k * map, end - k, o.p, o.q,
                                   o.pool_p, o.pool_q, o.relu != 0, o.relu && bias ? bias + k : nullptr);
  }
  const int64_t groups = o.groups, per_in = o.c / groups, per_out = o.k / groups, taps = per_in * o.r * o.s;
  if (stage == 1) {
    if (!o.pooled || !o.relu) through_relu(a + o.y, dy, o.p * o.q, o.relu != 0, bias, share.begin(o.k), share.end(o.k));
    if (o.dx >= 0)
      expand_planes(dy, a + o.back, share.begin(o.k), share.end(o.k), o.p, o.q, o.back_h, o.back_w,
                    table + o.back_row_map, table + o.back_col_map);
    return;
  }
  for (int64_t g = 0; g < groups; ++g) {
    const int32_t* offset = table + o.taps;
    const int64_t step = o.s > 1 ? offset[1] - offset[0] : 0;
    weight_gradient({x + g * per_in * o.expanded_h * o.expanded_w, dy + g * per_out * o.p * o.q, o.p, o.q, o.expanded_w,
                     o.stride_h, o.stride_w, step, o.expanded >= 0 ? table + o.row_map : nullptr, slot},
                    per_out, per_in, o.r, o.s, o.expanded_h * o.expanded_w, offset, table + o.pack + g * per_out * taps,
                    share.begin(per_out, KT_MOST), share.end(per_out, KT_MOST));
  }
  if (o.dx < 0) return;
  const bool direct = o.back_out < 0;  // dx itself, or a larger image that unexpand gathers
  V* out = a + (direct ? o.dx : o.back_out);
  const int64_t back_taps = per_out * o.r * o.s;
  for (int64_t g = 0; g < groups; ++g)
    convolve({a + o.back + g * per_out * o.back_h * o.back_w, out + g * per_in * o.back_p * o.back_q,
              per_in, o.back_p, o.back_q, o.back_w,
              per_out * o.back_h * o.back_w * static_cast<int64_t>(sizeof(V)), o.back_stride_h, o.back_stride_w,
              back_taps, o.r, o.s, table + o.back_row_map, table + o.back_taps, run.packed + o.back_packed + g * per_in * back_taps, nullptr, false,
              direct && o.accumulate != 0},
             share);
  if (direct) return;
  // A program with such a layer is never cut into shares: see sharable.
  if (!o.accumulate) memset(a + o.dx, 0, o.c * o.h * o.w * sizeof(V));
  unexpand(out, a + o.dx, o.c, o.h, o.w, o.expanded_h, o.expanded_w, table + o.row_map, table + o.col_map);
}

// Filters as winners_input reads them: one after another, each row of each a run of floats.
static void pack_runs(const Run& run, const Conv& o) {
  const int64_t filter = o.r * o.dx_run, size = o.c * o.r * o.s;
  const int32_t* index = run.program.table + o.dx_index;
  for (int64_t k = 0; k < o.k; ++k)
    for (int64_t j = 0; j < filter; ++j)
      run.packed[o.back_packed + k * filter + j] =
          index[j] < 0 ? 0.0f : run.call.parameters[o.weight + k * size + index[j]];
}

// What ordering one image's winners takes: where the places begin, and a pull (two floats) for each. As in plan/images.py.
static int64_t order_floats(const Conv& o) {
  const int64_t places = ((o.p - 1) * o.stride_h + 1) * ((o.q - 1) * o.stride_w + 1);
  return (places + 2) / 2 * 2 + 2 * o.k * o.pool_p * o.pool_q;
}

// Stage 0 lists the winners of the pool; 1 lays x out image by image; 2 makes dw (shares of the filters) and dx (shares of the
// images) from the lists; 3 turns dx back into lanes.
static void winners_backward(const Run& run, const Conv& o, V* a, float* slot, int64_t micro_batch, int stage, Share share) {
  const int32_t *table = run.program.table, *row_map = table + o.image_row_map;
  const int64_t rows = o.image_rows, width = o.image_width, image = rows * width + RUN, dx_width = o.dx_width;
  const int64_t dx_image = rows * dx_width + RUN, pooled = o.pool_p * o.pool_q, filter = o.r * o.image_run;
  const bool wanted = o.dx >= 0;
  const int images = run.valid(micro_batch);
  auto *x = reinterpret_cast<float*>(a + o.image_x), *dw = reinterpret_cast<float*>(a + o.image_dw);
  float* dx = wanted ? reinterpret_cast<float*>(a + o.image_dx) : nullptr;
  auto* lists = reinterpret_cast<Winner*>(a + o.d_map);
  auto* counts = reinterpret_cast<int32_t*>(lists + L * o.k * pooled);
  const int64_t first = share.begin(o.k), last = share.end(o.k);
  if (stage == 0)
    return find_winners(a + o.map, a + o.y, a + o.dy, lists, counts, o.k, o.p, o.q, o.pool_p, o.pool_q, o.stride_h << 16,
                        o.stride_w, o.relu != 0, place_in(slot, o.bias), first, last, images);
  if (stage == 1) {
    to_images(a + o.x, x, o.w, width, image, row_map, table + o.image_col_map, share.begin(rows), share.end(rows), images);
    if (!wanted) return;
    for (int64_t l = share.begin(images); l < share.end(images); ++l) memset(dx + l * dx_image, 0, dx_image * sizeof(float));
    if (!o.accumulate)
      memset(a + o.dx + share.begin(o.c) * o.h * o.w, 0, (share.end(o.c) - share.begin(o.c)) * o.h * o.w * sizeof(V));
    return;
  }
  if (stage == 3)
    return from_images(dx, a + o.dx, o.w, dx_width, dx_image, row_map, table + o.dx_col_map, share.begin(rows),
                       share.end(rows), o.accumulate != 0, false, images);
  memset(dw + first * filter, 0, (last - first) * filter * sizeof(float));
  // Image by image, so that it stays close; a filter is cut where its accumulators would not fit.
  const WinnerCut cut(o.r, o.image_run);
  for (int64_t piece = 0; piece < cut.rows * cut.across; ++piece) {
    const WinnerPiece part = cut.piece(piece);
    const WinnerTile tile = winner_tile(part.rows, part.vectors);
    for (int64_t l = 0; l < images; ++l)
      for (int64_t k = first; k < last; ++k)
        tile.weight(x + l * image + part.row * width + part.vector * L, lists + (l * o.k + k) * pooled, counts[l * o.k + k],
                    width, o.image_pitch, dw + k * filter + part.row * o.image_run + part.vector * L, o.image_run);
  }
  const int32_t* index = table + o.image_index;
  for (int64_t k = first; k < last; ++k)
    for (int64_t j = 0; j < filter; ++j)
      if (index[j] >= 0) slot[o.weight + k * o.c * o.r * o.s + index[j]] += dw[k * filter + j];
  if (!wanted) return;
  const WinnerCut back(o.r, o.dx_run);
  const auto pieces = [&](auto with) {
    for (int64_t piece = 0; piece < back.rows * back.across; ++piece) {
      const WinnerPiece part = back.piece(piece);
      with(winner_tile(part.rows, part.vectors), part.row * dx_width + part.vector * L,
           run.packed + o.back_packed + part.row * o.dx_run + part.vector * L);
    }
  };
  const int64_t begin = share.begin(images), end = share.end(images), turned = o.r * o.dx_run;
  if (o.image_order < 0)
    return pieces([&](const WinnerTile& tile, int64_t at, const float* w) {
      for (int64_t l = begin; l < end; ++l)
        for (int64_t k = 0; k < o.k; ++k)
          tile.input(dx + l * dx_image + at, lists + (l * o.k + k) * pooled, counts[l * o.k + k], dx_width, o.dx_pitch,
                     w + k * turned, o.dx_run);
    });
  // A share orders the winners of its images one after another, in the place of its first one.
  const int64_t down = (o.p - 1) * o.stride_h + 1, across = (o.q - 1) * o.stride_w + 1;
  auto* starts = reinterpret_cast<int32_t*>(a + o.image_order) + begin * order_floats(o);
  const WinnerOrder order{down, across, starts, reinterpret_cast<Pull*>(starts + (down * across + 2) / 2 * 2)};
  for (int64_t l = begin; l < end; ++l) {
    order_winners(order, lists + l * o.k * pooled, counts + l * o.k, o.k, pooled);
    pieces([&](const WinnerTile& tile, int64_t at, const float* w) {
      tile.ordered(dx + l * dx_image + at, order, dx_width, o.dx_pitch, w, turned, o.dx_run);
    });
  }
}
