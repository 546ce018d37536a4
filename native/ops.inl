// One op over one micro-batch, forward and backward: rows of the program turned into calls of kernels. Included by
// executor.cpp inside the namespace of one instruction set.

struct Stages {
  int begin, end;
};

static Stages forward_stages(const Run& run, const int64_t* o, int64_t micro_batch) {
  if (few(run, o, micro_batch)) return {0, o[POOLED] ? 4 : 3};
  return {o[KIND] == CONV && o[EXPANDED] < 0 ? 1 : 0, o[KIND] == CONV ? 2 : 1};
}

static Stages backward_stages(const int64_t* o) {
  if (o[KIND] == CONV) return {0, o[WINNERS] && o[DX] >= 0 ? 3 : 2};
  return {0, o[KIND] == LINEAR && o[DX] >= 0 && !o[BY_NEURONS] ? 2 : 1};
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

static void forward(const Run& run, int64_t i, V* a, int64_t micro_batch, int stage, Share share) {
  const int64_t* o = run.row(i);
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
