// One op over one micro-batch, forward and backward: rows of the program turned into calls of kernels. Included by
// executor.cpp inside the namespace of one instruction set.

struct Stages {
  int begin, end;
};

// Whether a micro-batch holds so few images that they are better convolved one by one, output channels in the lanes.
static bool few(const Run& run, const int64_t* o, int64_t micro_batch) {
  return o[KIND] == CONV && o[FEW_INDEX] && 5 * run.valid(micro_batch) * o[FEW_LANES] < 4 * L * o[K];
}

static Stages forward_stages(const Run& run, const int64_t* o, int64_t micro_batch) {
  if (few(run, o, micro_batch)) return {0, o[POOLED] ? 4 : 3};
  return {o[KIND] == CONV && o[EXPANDED] < 0 ? 1 : 0, o[KIND] == CONV ? 2 : 1};
}

static Stages backward_stages(const int64_t* o) {
  if (o[KIND] == CONV) return {0, o[WINNERS] && o[DX] >= 0 ? 3 : 2};
  return {0, o[KIND] == LINEAR && o[DX] >= 0 && !o[BY_NEURONS] ? 2 : 1};
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

static void drop(const Run& run, const int64_t* o, const double* f, const V* from, V* to, int64_t micro_batch, bool add,
                 Share share) {
  const auto p = static_cast<float>(f[0]), keep = static_cast<float>(1.0 / (1.0 - f[0]));
  for (int64_t block = share.begin(o[COUNT], 4) / 4; block * 4 < share.end(o[COUNT], 4); ++block) {
    V factor[4];
    for (int l = 0; l < L; ++l) {
      const uint32_t counter[4] = {static_cast<uint32_t>(block), static_cast<uint32_t>(micro_batch * L + l),
                                   static_cast<uint32_t>(run.call.step), static_cast<uint32_t>(7 | o[INDEX] << 8)};
      uint32_t words[4];
      philox(counter, run.call.seed, words);
      for (int i = 0; i < 4; ++i)
        factor[i][l] = static_cast<float>(words[i] >> 8) * 0x1p-24f >= p ? keep : 0.0f;
    }
    for (int64_t i = 0; i < 4 && block * 4 + i < o[COUNT]; ++i) {
      const V value = from[block * 4 + i] * factor[i];
      to[block * 4 + i] = add ? to[block * 4 + i] + value : value;
    }
  }
}

// What a fully connected layer keeps of a round, until its dw is made: x (n, C), dy (micro-batch, K, lane).
static float* kept_x(const Run& run, const int64_t* o) { return run.kept + o[KEPT] * run.round * L; }
static float* kept_dy(const Run& run, const int64_t* o) {
  return kept_x(run, o) + (o[READS_INPUT] ? 0 : run.round * o[C] * L);
}

// Whether one thread does an op alone, because shares of it would write to the same places, or are not worth cutting.
static bool alone(const int64_t* o, bool back) {
  if (o[KIND] == MOVE || o[KIND] == PRELU) return back;
  return o[KIND] == SOFTMAX || o[KIND] == LRN || o[KIND] == BATCHNORM;
}

static Product product_of(const int64_t* o, V* a, bool back) {
  const V *x = a + o[X], *second = a + o[SECOND], *dy = a + o[DY];
  const int64_t left = o[P] * o[C], right = o[C] * o[Q], out = o[P] * o[Q];
  if (!back) return {x, left, o[C], 1, second, right, o[Q], 1, a + o[Y], o[GROUPS], o[P], o[Q], o[C], false};
  const bool add = o[ACCUMULATE] != 0;
  if (o[WHICH])  // secondᵀ·dy
    return {second, left, 1, o[C], dy, out, o[Q], 1, a + o[DX], o[GROUPS], o[C], o[Q], o[P], add};
  return {dy, out, o[Q], 1, second, right, 1, o[Q], a + o[DX], o[GROUPS], o[P], o[C], o[Q], add};  // dy·secondᵀ
}

static Resampling resampling_of(const int64_t* o, const int32_t* table) {
  return {o[H], o[P], o[W], table + o[TAPS], table + o[PACK], reinterpret_cast<const float*>(table + o[COUNTS])};
}

// The rows that plan/tensors.py writes.
static void tensor_forward(const Run& run, const int64_t* o, const double* f, V* a, Share share) {
  const int32_t* map = run.program.table + o[ROW_MAP];
  const V* x = a + o[X];
  V* y = a + o[Y];
  const int64_t c0 = share.begin(o[C]), c1 = share.end(o[C]), j0 = share.begin(o[COUNT]), j1 = share.end(o[COUNT]);
  switch (o[KIND]) {
    case COPY: {
      const auto factor = static_cast<float>(f[0]);
      for (int64_t j = j0; j < j1; ++j) y[j] = o[K] ? y[j] + factor * x[j] : factor * x[j];
      break;
    }
    case MOVE:
      if (o[WHICH])
        for (int64_t j = j0; j < j1; ++j) y[map[j]] = x[j];
      else gather(x, y, map, static_cast<float>(f[0]), j0, j1);
      break;
    case PAIR:
      if (!o[WHICH]) pair_forward(o[K], o[FUSED_RELU] != 0, x, a + o[SECOND], y, j0, j1);
      break;
    case REDUCE: reduce(o[K], x, y, map, o[P], c0, c1); break;
    case MATMUL:
      if (!o[WHICH]) product(product_of(o, a, false), share);
      break;
    case RESAMPLE: resample(resampling_of(o, run.program.table), x, y, static_cast<float>(f[0]), c0, c1); break;
    case VALUE: {
      const float* from = o[WEIGHT] >= 0 ? run.call.parameters + o[WEIGHT] : run.call.state + o[STATE];
      for (int64_t j = j0; j < j1; ++j) y[j] = splat(from[j]);
      break;
    }
  }
}

static void tensor_backward(const Run& run, const int64_t* o, const double* f, V* a, float* slot, Share share) {
  const int32_t* map = run.program.table + o[ROW_MAP];
  const V *x = a + o[X], *y = a + o[Y], *dy = a + o[DY];
  V* dx = a + o[DX];
  const bool add = o[ACCUMULATE] != 0;
  const int64_t c0 = share.begin(o[C]), c1 = share.end(o[C]), j0 = share.begin(o[COUNT]), j1 = share.end(o[COUNT]);
  switch (o[KIND]) {
    case COPY:
      for (int64_t j = j0; j < j1; ++j) put(dx + j, static_cast<float>(f[0]) * dy[j], add);
      break;
    case MOVE:
      if (o[WHICH]) {
        for (int64_t j = j0; j < j1; ++j) put(dx + j, dy[map[j]], add);
        break;
      }
      if (!add) memset(dx, 0, o[H] * sizeof(V));
      gather_backward(dy, dx, map, o[COUNT]);
      break;
    case PAIR: {
      const V* second = a + o[SECOND];
      pair_backward(o[K], o[FUSED_RELU] != 0, o[WHICH] != 0, o[WHICH] ? second : x, o[WHICH] ? x : second, y, dy, dx, add, j0, j1);
      break;
    }
    case REDUCE: reduce_backward(o[K], x, y, dy, dx, map, o[P], add, c0, c1); break;
    case MATMUL: product(product_of(o, a, true), share); break;
    case RESAMPLE: resample_backward(resampling_of(o, run.program.table), dy, dx, add, c0, c1); break;
    case VALUE:
      for (int64_t j = j0; j < j1; ++j) slot[o[WEIGHT] + j] += horizontal_sum(dy[j]);
      break;
  }
}

static void forward(const Run& run, int64_t i, V* a, int64_t micro_batch, int stage, Share share) {
  const int64_t* o = run.row(i);
  if (alone(o, false)) {
    if (share.index > 0) return;
    share = {0, 1};
  }
  const double* f = run.program.floats + i * FLOATS;
  const int32_t* table = run.program.table;
  const float* parameters = run.call.parameters;
  const V* x = a + o[X];
  V* y = a + o[Y];
  const int64_t c0 = share.begin(o[C]), c1 = share.end(o[C]), j0 = share.begin(o[COUNT]), j1 = share.end(o[COUNT]);
  switch (o[KIND]) {
    case CONV:
      if (few(run, o, micro_batch)) few_forward(run, o, a, micro_batch, stage, share);
      else conv_forward(run, o, a, stage, share);
      break;
    case LINEAR:
      {
        const int64_t k = share.begin(o[K], 8), end = share.end(o[K], 8);
        linear_forward<1>(x, y + k, 0, parameters + o[WEIGHT] + k * o[C],
                          o[BIAS] >= 0 ? parameters + o[BIAS] + k : nullptr, o[C], end - k, o[FUSED_RELU] != 0);
      }
      break;
    case MAXPOOL:
      if (o[PAIRS]) {
        max_pool_pairs(x + c0 * o[H] * o[W], y + c0 * o[P] * o[Q], c1 - c0, o[H], o[W], o[P], o[Q]);
        break;
      }
      max_pool(x + c0 * o[H] * o[W], y + c0 * o[P] * o[Q], c1 - c0, o[H], o[W], o[P], o[Q], o[R], o[S], table + o[ROW_MAP], table + o[COL_MAP]);
      break;
    case AVGPOOL:
      avg_pool(x + c0 * o[H] * o[W], y + c0 * o[P] * o[Q], c1 - c0, o[H], o[W], o[P], o[Q], o[R], o[S], table + o[ROW_MAP], table + o[COL_MAP],
               table + o[COUNTS]);
      break;
    case RELU:
      for (int64_t j = j0; j < j1; ++j) y[j] = choose(x[j] <= 0.0f, V{}, x[j]);
      break;
    case LEAKY: {
      const auto slope = static_cast<float>(f[0]);
      for (int64_t j = j0; j < j1; ++j) y[j] = choose(x[j] > 0.0f, x[j], x[j] * slope);
      break;
    }
    case SIGMOID:
      for (int64_t j = j0; j < j1; ++j) y[j] = by_lane(x[j], stable_sigmoid);
      break;
    case TANH:
      for (int64_t j = j0; j < j1; ++j) y[j] = by_lane(x[j], tanhf);
      break;
    case CURVE: curve_forward(o[K], f, x, y, j0, j1); break;
    case SOFTMAX: softmax(x, y, o[C], o[P], o[K] != 0); break;
    case DROPOUT:
      drop(run, o, f, x, y, micro_batch, false, share);
      break;
    case BATCHNORM: {
      const float *weight = parameters + o[WEIGHT], *bias = parameters + o[BIAS];
      const float *mean = run.call.state + o[STATE], *var = mean + o[C];
      for (int64_t c = 0; c < o[C]; ++c) {
        const bool own = run.call.training;
        const V center = own ? statistic(run, o, micro_batch, c) : splat(mean[c]);
        const V inverse = own ? statistic(run, o, micro_batch, o[C] + c) : splat(1.0f / sqrtf(var[c] + static_cast<float>(f[0])));
        for (int64_t j = c * o[P]; j < (c + 1) * o[P]; ++j) {
          const V value = scaled((x[j] - center) * inverse, weight[c], bias[c]);
          y[j] = o[FUSED_RELU] ? choose(value <= 0.0f, V{}, value) : value;
        }
      }
      break;
    }
    case LRN: {
      const auto size = static_cast<int64_t>(f[0]);
      const auto alpha = static_cast<float>(f[1] / f[0]), beta = static_cast<float>(f[2]), k = static_cast<float>(f[3]);
      V* squares = a + o[EXPANDED];
      for (int64_t j = 0; j < o[C] * o[P]; ++j) squares[j] = x[j] * x[j];
      for (int64_t c = 0; c < o[C]; ++c)
        for (int64_t at = 0; at < o[P]; ++at) {
          const V scale = k + alpha * over_channels(squares, o[C], o[P], at, c, size / 2, (size - 1) / 2);
          y[c * o[P] + at] = x[c * o[P] + at] * by_lane(scale, [beta](float v) { return powf(v, -beta); });
        }
      break;
    }
    case PRELU: prelu(x, y, parameters + o[WEIGHT], table + o[ROW_MAP], j0, j1); break;
    case INSTANCENORM:
      instance_norm(x, y, parameters + o[WEIGHT], parameters + o[BIAS], o[P], static_cast<float>(f[0]), c0, c1);
      break;
    case LPPOOL:
      lp_pool(x, y, static_cast<float>(f[0]), c0, c1, o[H], o[W], o[P], o[Q], o[R], o[S], table + o[ROW_MAP], table + o[COL_MAP]);
      break;
    default: tensor_forward(run, o, f, a, share);
  }
}

static void lrn_backward(const int64_t* o, const double* f, V* a) {
  const auto size = static_cast<int64_t>(f[0]);
  const auto alpha = static_cast<float>(f[1] / f[0]), beta = static_cast<float>(f[2]), k = static_cast<float>(f[3]);
  const V *x = a + o[X], *dy = a + o[DY], *squares = a + o[EXPANDED];
  V *through = a + o[BACK_SCRATCH], *dx = a + o[DX];
  for (int64_t c = 0; c < o[C]; ++c)
    for (int64_t at = 0; at < o[P]; ++at) {
      const int64_t j = c * o[P] + at;
      const V scale = k + alpha * over_channels(squares, o[C], o[P], at, c, size / 2, (size - 1) / 2);
      const V power = by_lane(scale, [beta](float v) { return powf(v, -beta); });
      through[j] = dy[j] * x[j] * power / scale;
      dx[j] = (o[ACCUMULATE] ? dx[j] : V{}) + dy[j] * power;
    }
  for (int64_t c = 0; c < o[C]; ++c)
    for (int64_t at = 0; at < o[P]; ++at) {
      const int64_t j = c * o[P] + at;
      dx[j] -= 2.0f * alpha * beta * x[j] * over_channels(through, o[C], o[P], at, c, (size - 1) / 2, size / 2);
    }
}

static void backward(const Run& run, int64_t i, V* a, int64_t micro_batch, float* slot, int stage, Share share) {
  const int64_t* o = run.row(i);
  if (alone(o, true)) {
    if (share.index > 0) return;
    share = {0, 1};
  }
  const double* f = run.program.floats + i * FLOATS;
  const int32_t* table = run.program.table;
  const V *x = a + o[X], *y = a + o[Y], *dy = a + o[DY];
  V* dx = a + o[DX];
  const bool wanted = o[DX] >= 0, add = o[ACCUMULATE] != 0;
  if (o[KIND] == CONV && o[WINNERS]) return winners_backward(run, o, a, slot, micro_batch, stage, share);
  if (o[KIND] == CONV) return conv_backward(run, o, a, slot, stage, share);
  if (o[KIND] == LINEAR) {
    if (stage == 1) {
      const int64_t c = share.begin(o[C], 8), end = share.end(o[C], 8);
      return linear_backward_x(dy, dx, run.call.parameters + o[WEIGHT], o[C], o[K], c, end, add);
    }
    through_relu(o, a, slot, share);
    // Kept for finish_task, which makes dw of a whole round at once.
    const int64_t at = micro_batch - run.first;
    if (share.index == 0 && !o[READS_INPUT])
      turn_over(reinterpret_cast<const float*>(x), L, kept_x(run, o) + at * L * o[C], o[C], o[C]);
    const int64_t k = share.begin(o[K]), end = share.end(o[K]);
    memcpy(kept_dy(run, o) + (at * o[K] + k) * L, dy + k, (end - k) * sizeof(V));
    return;
  }
  const bool trains = o[KIND] == BATCHNORM || o[KIND] == PRELU || o[KIND] == INSTANCENORM;  // parameters of its own
  if (o[KIND] == VALUE ? o[WEIGHT] < 0 || o[DY] < 0 : !wanted && !trains) return;
  const int64_t c0 = share.begin(o[C]), c1 = share.end(o[C]), j0 = share.begin(o[COUNT]), j1 = share.end(o[COUNT]);
  const int64_t small = c0 * o[P] * o[Q], large = c0 * o[H] * o[W];
  const auto write = [&](int64_t j, V value) { dx[j] = add ? dx[j] + value : value; };
  switch (o[KIND]) {
    case MAXPOOL:
      if (o[WINNERS]) {
        auto* lists = reinterpret_cast<Winner*>(dx);
        find_winners(x, y, dy, lists, reinterpret_cast<int32_t*>(lists + L * o[C] * o[P] * o[Q]), o[C], o[H], o[W], o[P],
                     o[Q], o[STRIDE_H], o[STRIDE_W], o[FUSED_RELU] != 0, o[BIAS] >= 0 ? slot + o[BIAS] : nullptr, c0, c1,
                     run.valid(micro_batch));
        break;
      }
      if (o[PAIRS] && !add) {
        if (o[H] != 2 * o[P] || o[W] != 2 * o[Q]) memset(dx + large, 0, (c1 - c0) * o[H] * o[W] * sizeof(V));
        max_pool_pairs_backward(x + large, y + small, dy + small, dx + large, c1 - c0, o[H], o[W], o[P], o[Q],
                                o[FUSED_RELU] != 0, o[BIAS] >= 0 ? slot + o[BIAS] + c0 : nullptr);
        break;
      }
      if (!add) memset(dx + large, 0, (c1 - c0) * o[H] * o[W] * sizeof(V));
      max_pool_backward(x + large, y + small, dy + small, dx + large, c1 - c0, o[H], o[W], o[P], o[Q], o[R], o[S], table + o[ROW_MAP], table + o[COL_MAP]);
      break;
    case AVGPOOL:
      if (!add) memset(dx + large, 0, (c1 - c0) * o[H] * o[W] * sizeof(V));
      avg_pool_backward(dy + small, dx + large, c1 - c0, o[H], o[W], o[P], o[Q], o[R], o[S], table + o[ROW_MAP], table + o[COL_MAP],
                        table + o[COUNTS]);
      break;
    case RELU:
      for (int64_t j = j0; j < j1; ++j) write(j, choose(y[j] > 0.0f, dy[j], V{}));
      break;
    case LEAKY: {
      const auto slope = static_cast<float>(f[0]);
      for (int64_t j = j0; j < j1; ++j) write(j, choose(x[j] > 0.0f, dy[j], dy[j] * slope));
      break;
    }
    case SIGMOID:
      for (int64_t j = j0; j < j1; ++j) write(j, dy[j] * y[j] * (1.0f - y[j]));
      break;
    case TANH:
      for (int64_t j = j0; j < j1; ++j) write(j, dy[j] * (1.0f - y[j] * y[j]));
      break;
    case CURVE: curve_backward(o[K], f, x, dy, dx, j0, j1, add); break;
    case SOFTMAX:
      for (int64_t at = 0; at < o[P]; ++at) {
        V total{};
        for (int64_t c = 0; c < o[C]; ++c) total += o[K] ? dy[c * o[P] + at] : dy[c * o[P] + at] * y[c * o[P] + at];
        for (int64_t c = 0; c < o[C]; ++c) {
          const V own = y[c * o[P] + at], upstream = dy[c * o[P] + at];
          write(c * o[P] + at, o[K] ? upstream - by_lane(own, [](float v) { return expf(v); }) * total : own * (upstream - total));
        }
      }
      break;
    case DROPOUT: drop(run, o, f, dy, dx, micro_batch, add, share); break;
    case LRN: lrn_backward(o, f, a); break;
    case PRELU:
      prelu_backward(x, dy, wanted ? dx : nullptr, run.call.parameters + o[WEIGHT], slot + o[WEIGHT], table + o[ROW_MAP],
                     o[COUNT], add);
      break;
    case INSTANCENORM:
      instance_norm_backward(x, dy, wanted ? dx : nullptr, run.call.parameters + o[WEIGHT], slot + o[WEIGHT], slot + o[BIAS],
                             o[P], static_cast<float>(f[0]), add, c0, c1);
      break;
    case LPPOOL:
      if (!add) memset(dx + large, 0, (c1 - c0) * o[H] * o[W] * sizeof(V));
      lp_pool_backward(x, y, dy, dx, static_cast<float>(f[0]), c0, c1, o[H], o[W], o[P], o[Q], o[R], o[S], table + o[ROW_MAP],
                       table + o[COL_MAP]);
      break;
    default: tensor_backward(run, o, f, a, slot, share); break;
    case BATCHNORM: {
      // dx = weight/deviation · (dy − mean(dy) − x̂·mean(dy·x̂)); lanes without an image get nothing.
      VI mask;
      for (int l = 0; l < L; ++l) mask[l] = l < run.valid(micro_batch) ? -1 : 0;
      for (int64_t c = 0; wanted && c < o[C]; ++c) {
        const V center = statistic(run, o, micro_batch, c), inverse = statistic(run, o, micro_batch, o[C] + c);
        const V mean_dy = statistic(run, o, micro_batch, 2 * o[C] + c);
        const V mean_product = statistic(run, o, micro_batch, 3 * o[C] + c);
        const float weight = run.call.parameters[o[WEIGHT] + c], bias = run.call.parameters[o[BIAS] + c];
        const V scale = weight * inverse;
        for (int64_t j = c * o[P]; j < (c + 1) * o[P]; ++j) {
          const V normalized = (x[j] - center) * inverse;
          const V upstream = o[FUSED_RELU] ? choose(scaled(normalized, weight, bias) > 0.0f, dy[j], V{}) : dy[j];
          write(j, choose(mask, scale * (upstream - mean_dy - normalized * mean_product), V{}));
        }
      }
      break;
    }
  }
}
