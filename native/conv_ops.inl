// A convolution's row turned into calls of kernels: dense, image by image, and backward through the winners of the pool after
// it. Included by executor.cpp inside the namespace of one instruction set.

// Whether a micro-batch holds so few images that they are better convolved one by one, output channels in the lanes.
static bool few(const Run& run, const int64_t* o, int64_t micro_batch) {
  return o[KIND] == CONV && o[FEW_INDEX] && 5 * run.valid(micro_batch) * o[FEW_LANES] < 4 * L * o[K];
}

static void expand_planes(const V* x, V* out, int64_t begin, int64_t end, int64_t H, int64_t W, int64_t HE, int64_t WE,
                          const int32_t* row, const int32_t* col) {
  expand(x + begin * H * W, out + begin * HE * WE, end - begin, H, W, HE, WE, row, col);
}

static void conv_forward(const Run& run, const int64_t* o, V* a, int stage, Share share) {
  const int32_t* table = run.program.table;
  const V* x = a + (o[EXPANDED] >= 0 ? o[EXPANDED] : o[X]);
  if (stage == 0)
    return expand_planes(a + o[X], a + o[EXPANDED], share.begin(o[C]), share.end(o[C]), o[H], o[W], o[HE], o[WE],
                         table + o[ROW_MAP], table + o[COL_MAP]);
  const int64_t groups = o[GROUPS], per_in = o[C] / groups, per_out = o[K] / groups, taps = per_in * o[R] * o[S];
  for (int64_t g = 0; g < groups; ++g) {
    const float* bias = o[BIAS] >= 0 ? run.call.parameters + o[BIAS] + g * per_out : nullptr;
    const int64_t map = o[POOLED] ? (o[P] / 2) * (o[Q] / 2) : o[P] * o[Q];
    convolve({x + g * per_in * o[HE] * o[WE], a + o[Y] + g * per_out * map, per_out, o[P], o[Q], o[WE],
              per_in * o[HE] * o[WE] * static_cast<int64_t>(sizeof(V)), o[STRIDE_H], o[STRIDE_W], taps, o[R], o[S],
              o[EXPANDED] >= 0 ? table + o[ROW_MAP] : nullptr, table + o[TAPS],
              run.packed + o[PACKED] + g * per_out * taps, bias, o[FUSED_RELU] != 0, false, o[POOLED] != 0},
             share);
  }
}

// Weights (filter row, float of its run, output channel), and the biases after them.
static void pack_few(const Run& run, const int64_t* o) {
  const int32_t* index = run.program.table + o[FEW_INDEX];
  for (int64_t j = 0; j < (o[R] * o[FEW_RUN] + 1) * o[FEW_LANES]; ++j)
    run.packed[o[FEW_PACKED] + j] = index[j] < 0 ? 0.0f : run.call.parameters[index[j]];
}

// Stage 0 lays x out image by image, 1 convolves, 2 turns y into lanes, 3 is the pool after it.
static void few_forward(const Run& run, const int64_t* o, V* a, int64_t micro_batch, int stage, Share share) {
  const int32_t* table = run.program.table;
  const int64_t width = o[IMAGE_WIDTH], image = o[IMAGE_ROWS] * width + RUN, lanes = o[FEW_LANES];
  const int64_t y_width = (o[Q] * lanes + RUN - 1) / RUN * RUN, y_image = o[P] * y_width;
  const int images = run.valid(micro_batch);
  auto *x = reinterpret_cast<float*>(a + o[FEW_X]), *y = reinterpret_cast<float*>(a + o[FEW_Y]);
  if (stage == 0)
    return to_images(a + o[X], x, o[W], width, image, table + o[IMAGE_ROW_MAP], table + o[IMAGE_COL_MAP],
                     share.begin(o[IMAGE_ROWS]), share.end(o[IMAGE_ROWS]), images);
  if (stage == 2)
    return from_images(y, a + (o[POOLED] ? o[FEW_WHOLE] : o[Y]), o[Q], y_width, y_image, nullptr, table + o[FEW_COL_MAP],
                       share.begin(o[P]), share.end(o[P]), false, true, images);
  if (stage == 3) {
    const int64_t k = share.begin(o[K]), map = o[P] * o[Q], pooled = (o[P] / 2) * (o[Q] / 2);
    return max_pool_pairs(a + o[FEW_WHOLE] + k * map, a + o[Y] + k * pooled, share.end(o[K]) - k, o[P], o[Q], o[P] / 2, o[Q] / 2);
  }
  const float* w = run.packed + o[FEW_PACKED];
  for (int l = 0; l < images; ++l)
    few_convolve({x + l * image, y + l * y_image, o[Q], y_width, lanes, width, o[STRIDE_H] * width,
                  o[STRIDE_W] * o[IMAGE_PITCH], o[R], o[FEW_RUN], w, w + o[R] * o[FEW_RUN] * lanes, o[FUSED_RELU] != 0},
                 share.begin(o[P]), share.end(o[P]));
}

// dy masked by the ReLU that was fused into the op; db beside it.
static void through_relu(const int64_t* o, V* a, float* slot, Share share) {
  const int64_t map = o[P] * o[Q];
  V* dy = a + o[DY];
  const V* y = a + o[Y];
  for (int64_t k = share.begin(o[K]); k < share.end(o[K]); ++k) {
    V total{};
    for (int64_t i = k * map; i < (k + 1) * map; ++i) {
      if (o[FUSED_RELU]) dy[i] = choose(y[i] > 0.0f, dy[i], V{});
      total += dy[i];
    }
    if (o[BIAS] >= 0) slot[o[BIAS] + k] += horizontal_sum(total);
  }
}

static void conv_backward(const Run& run, const int64_t* o, V* a, float* slot, int stage, Share share) {
  const int32_t* table = run.program.table;
  const V* x = a + (o[EXPANDED] >= 0 ? o[EXPANDED] : o[X]);
  V* dy = a + o[DY];
  const int64_t groups = o[GROUPS], per_in = o[C] / groups, per_out = o[K] / groups, taps = per_in * o[R] * o[S];
  if (stage == 0) {
    if (o[FUSED_RELU] != RELU_DONE) through_relu(o, a, slot, share);
    if (o[DX] >= 0)
      expand_planes(dy, a + o[BACK_SCRATCH], share.begin(o[K]), share.end(o[K]), o[P], o[Q], o[BACK_H], o[BACK_W],
                    table + o[BACK_ROW_MAP], table + o[BACK_COL_MAP]);
    return;
  }
  for (int64_t g = 0; g < groups; ++g) {
    const int32_t* offset = table + o[TAPS];
    const int64_t step = o[S] > 1 ? offset[1] - offset[0] : 0;
    weight_gradient({x + g * per_in * o[HE] * o[WE], dy + g * per_out * o[P] * o[Q], o[P], o[Q], o[WE],
                     o[STRIDE_H], o[STRIDE_W], step, o[EXPANDED] >= 0 ? table + o[ROW_MAP] : nullptr, slot},
                    per_out, per_in, o[R], o[S], o[HE] * o[WE], offset, table + o[PACK] + g * per_out * taps,
                    share.begin(per_out, KT_MOST), share.end(per_out, KT_MOST));
  }
  if (o[DX] < 0) return;
  const bool direct = o[BACK_OUT] < 0;  // dx itself, or a larger image that unexpand gathers
  V* out = a + (direct ? o[DX] : o[BACK_OUT]);
  const int64_t back_taps = per_out * o[R] * o[S];
  for (int64_t g = 0; g < groups; ++g)
    convolve({a + o[BACK_SCRATCH] + g * per_out * o[BACK_H] * o[BACK_W], out + g * per_in * o[BACK_P] * o[BACK_Q],
              per_in, o[BACK_P], o[BACK_Q], o[BACK_W],
              per_out * o[BACK_H] * o[BACK_W] * static_cast<int64_t>(sizeof(V)), o[BACK_STRIDE_H], o[BACK_STRIDE_W],
              back_taps, o[R], o[S], table + o[BACK_ROW_MAP], table + o[BACK_TAPS], run.packed + o[BACK_PACKED] + g * per_in * back_taps, nullptr, false,
              direct && o[ACCUMULATE] != 0},
             share);
  if (direct) return;
  // A program with such a layer is never cut into shares: see sharable.
  if (!o[ACCUMULATE]) memset(a + o[DX], 0, o[C] * o[H] * o[W] * sizeof(V));
  unexpand(out, a + o[DX], o[C], o[H], o[W], o[HE], o[WE], table + o[ROW_MAP], table + o[COL_MAP]);
}

// Filters as winners_input reads them: one after another, each row of each a run of floats.
static void pack_runs(const Run& run, const int64_t* o) {
  const int64_t filter = o[R] * o[DX_RUN], size = o[C] * o[R] * o[S];
  const int32_t* index = run.program.table + o[DX_INDEX];
  for (int64_t k = 0; k < o[K]; ++k)
    for (int64_t j = 0; j < filter; ++j)
      run.packed[o[BACK_PACKED] + k * filter + j] =
          index[j] < 0 ? 0.0f : run.call.parameters[o[WEIGHT] + k * size + index[j]];
}

// What ordering one image's winners takes: where the places begin, and a pull (two floats) for each. As in plan/images.py.
static int64_t order_floats(const int64_t* o) {
  const int64_t places = ((o[P] - 1) * o[STRIDE_H] + 1) * ((o[Q] - 1) * o[STRIDE_W] + 1);
  return (places + 2) / 2 * 2 + 2 * o[K] * o[BACK_P] * o[BACK_Q];
}

// Stage 0 lays x out image by image; 1 makes dw (shares of the filters) and dx (shares of the images) from the lists that
// the pool left; 2 turns dx back into lanes.
static void winners_backward(const Run& run, const int64_t* o, V* a, float* slot, int64_t micro_batch, int stage, Share share) {
  const int32_t *table = run.program.table, *row_map = table + o[IMAGE_ROW_MAP];
  const int64_t rows = o[IMAGE_ROWS], width = o[IMAGE_WIDTH], image = rows * width + RUN, dx_width = o[DX_WIDTH];
  const int64_t dx_image = rows * dx_width + RUN, pooled = o[BACK_P] * o[BACK_Q], filter = o[R] * o[IMAGE_RUN];
  const bool wanted = o[DX] >= 0;
  const int images = run.valid(micro_batch);
  auto *x = reinterpret_cast<float*>(a + o[IMAGE_X]), *dw = reinterpret_cast<float*>(a + o[IMAGE_DW]);
  float* dx = wanted ? reinterpret_cast<float*>(a + o[IMAGE_DX]) : nullptr;
  if (stage == 0) {
    to_images(a + o[X], x, o[W], width, image, row_map, table + o[IMAGE_COL_MAP], share.begin(rows), share.end(rows), images);
    if (!wanted) return;
    for (int64_t l = share.begin(images); l < share.end(images); ++l) memset(dx + l * dx_image, 0, dx_image * sizeof(float));
    if (!o[ACCUMULATE])
      memset(a + o[DX] + share.begin(o[C]) * o[H] * o[W], 0, (share.end(o[C]) - share.begin(o[C])) * o[H] * o[W] * sizeof(V));
    return;
  }
  if (stage == 2)
    return from_images(dx, a + o[DX], o[W], dx_width, dx_image, row_map, table + o[DX_COL_MAP], share.begin(rows),
                       share.end(rows), o[ACCUMULATE] != 0, false, images);
  const auto* lists = reinterpret_cast<const Winner*>(a + o[DY]);
  const auto* counts = reinterpret_cast<const int32_t*>(lists + L * o[K] * pooled);
  const int64_t first = share.begin(o[K]), last = share.end(o[K]);
  memset(dw + first * filter, 0, (last - first) * filter * sizeof(float));
  // Image by image, so that it stays close; a filter is cut where its accumulators would not fit.
  const WinnerCut cut(o[R], o[IMAGE_RUN]);
  for (int64_t piece = 0; piece < cut.rows * cut.across; ++piece) {
    const WinnerPiece part = cut.piece(piece);
    const WinnerTile tile = winner_tile(part.rows, part.vectors);
    for (int64_t l = 0; l < images; ++l)
      for (int64_t k = first; k < last; ++k)
        tile.weight(x + l * image + part.row * width + part.vector * L, lists + (l * o[K] + k) * pooled, counts[l * o[K] + k],
                    width, o[IMAGE_PITCH], dw + k * filter + part.row * o[IMAGE_RUN] + part.vector * L, o[IMAGE_RUN]);
  }
  const int32_t* index = table + o[IMAGE_INDEX];
  for (int64_t k = first; k < last; ++k)
    for (int64_t j = 0; j < filter; ++j)
      if (index[j] >= 0) slot[o[WEIGHT] + k * o[C] * o[R] * o[S] + index[j]] += dw[k * filter + j];
  if (!wanted) return;
  const WinnerCut back(o[R], o[DX_RUN]);
  const auto pieces = [&](auto with) {
    for (int64_t piece = 0; piece < back.rows * back.across; ++piece) {
      const WinnerPiece part = back.piece(piece);
      with(winner_tile(part.rows, part.vectors), part.row * dx_width + part.vector * L,
           run.packed + o[BACK_PACKED] + part.row * o[DX_RUN] + part.vector * L);
    }
  };
  const int64_t begin = share.begin(images), end = share.end(images), turned = o[R] * o[DX_RUN];
  if (o[IMAGE_ORDER] < 0)
    return pieces([&](const WinnerTile& tile, int64_t at, const float* w) {
      for (int64_t l = begin; l < end; ++l)
        for (int64_t k = 0; k < o[K]; ++k)
          tile.input(dx + l * dx_image + at, lists + (l * o[K] + k) * pooled, counts[l * o[K] + k], dx_width, o[DX_PITCH],
                     w + k * turned, o[DX_RUN]);
    });
  // A share orders the winners of its images one after another, in the place of its first one.
  const int64_t down = (o[P] - 1) * o[STRIDE_H] + 1, across = (o[Q] - 1) * o[STRIDE_W] + 1;
  auto* starts = reinterpret_cast<int32_t*>(a + o[IMAGE_ORDER]) + begin * order_floats(o);
  const WinnerOrder order{down, across, starts, reinterpret_cast<Pull*>(starts + (down * across + 2) / 2 * 2)};
  for (int64_t l = begin; l < end; ++l) {
    order_winners(order, lists + l * o[K] * pooled, counts + l * o[K], o[K], pooled);
    pieces([&](const WinnerTile& tile, int64_t at, const float* w) {
      tile.ordered(dx + l * dx_image + at, order, dx_width, o[DX_PITCH], w, turned, o[DX_RUN]);
    });
  }
}
