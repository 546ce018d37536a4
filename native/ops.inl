// One op over one micro-batch, forward and backward: what its struct says turned into calls of kernels. Included by
// executor.cpp inside the namespace of one instruction set.

struct Stages {
  int begin, end;
};

static Stages forward_stages(const Run& run, const Op& op, int64_t micro_batch) {
  if (op.kind != Kind::CONV) return {0, 1};
  const auto& o = as<Conv>(op);
  if (few(run, o, micro_batch)) return {0, o.pooled ? 4 : 3};
  return {o.expanded >= 0 ? 0 : 1, o.pooled && !o.in_registers ? 3 : 2};
}

static Stages backward_stages(const Op& op) {
  if (op.kind == Kind::LINEAR) return {0, as<Linear>(op).dx >= 0 && !as<Linear>(op).by_neurons ? 2 : 1};
  if (op.kind != Kind::CONV) return {0, 1};
  const auto& o = as<Conv>(op);
  return {o.pooled ? 0 : 1, o.winners && o.dx >= 0 ? 4 : 3};
}

static void drop(const Run& run, const Dropout& o, const V* from, V* to, int64_t micro_batch, bool add,
                 Share share) {
  const auto p = static_cast<float>(o.rate), keep = static_cast<float>(1.0 / (1.0 - o.rate));
  for (int64_t block = share.begin(o.count, 4) / 4; block * 4 < share.end(o.count, 4); ++block) {
    V factor[4];
    for (int l = 0; l < L; ++l) {
      const uint32_t counter[4] = {static_cast<uint32_t>(block), static_cast<uint32_t>(micro_batch * L + l),
                                   static_cast<uint32_t>(run.call.step), static_cast<uint32_t>(7 | o.index << 8)};
      uint32_t words[4];
      philox(counter, run.call.seed, words);
      for (int i = 0; i < 4; ++i)
        factor[i][l] = static_cast<float>(words[i] >> 8) * 0x1p-24f >= p ? keep : 0.0f;
    }
    for (int64_t i = 0; i < 4 && block * 4 + i < o.count; ++i) {
      const V value = from[block * 4 + i] * factor[i];
      to[block * 4 + i] = add ? to[block * 4 + i] + value : value;
    }
  }
}

// What a fully connected layer keeps of a round, until its dw is made: x (n, C), dy (micro-batch, K, lane).
static float* kept_x(const Run& run, const Linear& o) { return run.kept + o.kept * run.round * L; }
static float* kept_dy(const Run& run, const Linear& o) {
  return kept_x(run, o) + (o.reads_input != NONE ? 0 : run.round * o.c * L);
}

// Rows c0 … c1 of windows, each (H, W) → (P, Q).
template <class O>
static void pool_forward(const Run& run, const O& o, V* a, Share share) {
  const int32_t *row = run.program.table + o.row_map, *col = run.program.table + o.col_map;
  const int64_t c0 = share.begin(o.c), c1 = share.end(o.c);
  const V* x = a + o.x + c0 * o.h * o.w;
  V* y = a + o.y + c0 * o.p * o.q;
  if constexpr (std::is_same_v<O, MaxPool>) {
    if (o.pairs) max_pool_pairs(x, y, c1 - c0, o.h, o.w, o.p, o.q);
    else max_pool(x, y, c1 - c0, o.h, o.w, o.p, o.q, o.r, o.s, row, col);
  } else if constexpr (std::is_same_v<O, AveragePool>) {
    avg_pool(x, y, c1 - c0, o.h, o.w, o.p, o.q, o.r, o.s, row, col, run.program.table + o.counts);
  } else {
    lp_pool(a + o.x, a + o.y, static_cast<float>(o.power), c0, c1, o.h, o.w, o.p, o.q, o.r, o.s, row, col);
  }
}

template <class O>
static void pool_backward(const Run& run, const O& o, V* a, Share share) {
  const int32_t *row = run.program.table + o.row_map, *col = run.program.table + o.col_map;
  const int64_t c0 = share.begin(o.c), c1 = share.end(o.c), small = c0 * o.p * o.q, large = c0 * o.h * o.w;
  const V *x = a + o.x, *y = a + o.y, *dy = a + o.dy;
  V* dx = a + o.dx;
  const auto clear = [&] { memset(dx + large, 0, (c1 - c0) * o.h * o.w * sizeof(V)); };
  if constexpr (std::is_same_v<O, MaxPool>) {
    if (o.pairs && !o.accumulate) {
      if (o.h != 2 * o.p || o.w != 2 * o.q) clear();
      return max_pool_pairs_backward(x + large, y + small, dy + small, dx + large, c1 - c0, o.h, o.w, o.p, o.q, false, nullptr);
    }
  }
  if (!o.accumulate) clear();
  if constexpr (std::is_same_v<O, MaxPool>)
    max_pool_backward(x + large, y + small, dy + small, dx + large, c1 - c0, o.h, o.w, o.p, o.q, o.r, o.s, row, col);
  else if constexpr (std::is_same_v<O, AveragePool>)
    avg_pool_backward(dy + small, dx + large, c1 - c0, o.h, o.w, o.p, o.q, o.r, o.s, row, col, run.program.table + o.counts);
  else
    lp_pool_backward(x, y, dy, dx, static_cast<float>(o.power), c0, c1, o.h, o.w, o.p, o.q, o.r, o.s, row, col);
}

static void batch_norm_forward(const Run& run, const BatchNorm& o, V* a, int64_t micro_batch) {
  const float *weight = run.call.parameters + o.weight, *bias = run.call.parameters + o.bias;
  const float *mean = run.call.state + o.state, *var = mean + o.c;
  const V* x = a + o.x;
  V* y = a + o.y;
  for (int64_t c = 0; c < o.c; ++c) {
    const bool own = run.call.training;
    const V center = own ? statistic(run, o, micro_batch, c) : splat(mean[c]);
    const V inverse = own ? statistic(run, o, micro_batch, o.c + c) : splat(1.0f / sqrtf(var[c] + static_cast<float>(o.epsilon)));
    for (int64_t j = c * o.places; j < (c + 1) * o.places; ++j) {
      const V value = scaled((x[j] - center) * inverse, weight[c], bias[c]);
      y[j] = o.relu ? choose(value <= 0.0f, V{}, value) : value;
    }
  }
}

// dx = weight/deviation · (dy − mean(dy) − x̂·mean(dy·x̂)); lanes without an image get nothing.
static void batch_norm_backward(const Run& run, const BatchNorm& o, V* a, int64_t micro_batch) {
  const V *x = a + o.x, *dy = a + o.dy;
  V* dx = a + o.dx;
  VI mask;
  for (int l = 0; l < L; ++l) mask[l] = l < run.valid(micro_batch) ? -1 : 0;
  for (int64_t c = 0; c < o.c; ++c) {
    const V center = statistic(run, o, micro_batch, c), inverse = statistic(run, o, micro_batch, o.c + c);
    const V mean_dy = statistic(run, o, micro_batch, 2 * o.c + c);
    const V mean_product = statistic(run, o, micro_batch, 3 * o.c + c);
    const float weight = run.call.parameters[o.weight + c], bias = run.call.parameters[o.bias + c];
    const V scale = weight * inverse;
    for (int64_t j = c * o.places; j < (c + 1) * o.places; ++j) {
      const V normalized = (x[j] - center) * inverse;
      const V upstream = o.relu ? choose(scaled(normalized, weight, bias) > 0.0f, dy[j], V{}) : dy[j];
      put(dx + j, choose(mask, scale * (upstream - mean_dy - normalized * mean_product), V{}), o.accumulate);
    }
  }
}

static void response_norm_forward(const ResponseNorm& o, V* a) {
  const auto alpha = static_cast<float>(o.alpha / static_cast<double>(o.size)), beta = static_cast<float>(o.beta);
  const auto k = static_cast<float>(o.k);
  const V* x = a + o.x;
  V *y = a + o.y, *squares = a + o.squares;
  for (int64_t j = 0; j < o.c * o.places; ++j) squares[j] = x[j] * x[j];
  for (int64_t c = 0; c < o.c; ++c)
    for (int64_t at = 0; at < o.places; ++at) {
      const V scale = k + alpha * over_channels(squares, o.c, o.places, at, c, o.size / 2, (o.size - 1) / 2);
      y[c * o.places + at] = x[c * o.places + at] * by_lane(scale, [beta](float v) { return powf(v, -beta); });
    }
}

static void response_norm_backward(const ResponseNorm& o, V* a) {
  const auto alpha = static_cast<float>(o.alpha / static_cast<double>(o.size)), beta = static_cast<float>(o.beta);
  const auto k = static_cast<float>(o.k);
  const V *x = a + o.x, *dy = a + o.dy, *squares = a + o.squares;
  V *through = a + o.through, *dx = a + o.dx;
  for (int64_t c = 0; c < o.c; ++c)
    for (int64_t at = 0; at < o.places; ++at) {
      const int64_t j = c * o.places + at;
      const V scale = k + alpha * over_channels(squares, o.c, o.places, at, c, o.size / 2, (o.size - 1) / 2);
      const V power = by_lane(scale, [beta](float v) { return powf(v, -beta); });
      through[j] = dy[j] * x[j] * power / scale;
      dx[j] = (o.accumulate ? dx[j] : V{}) + dy[j] * power;
    }
  for (int64_t c = 0; c < o.c; ++c)
    for (int64_t at = 0; at < o.places; ++at) {
      const int64_t j = c * o.places + at;
      dx[j] -= 2.0f * alpha * beta * x[j] * over_channels(through, o.c, o.places, at, c, (o.size - 1) / 2, o.size / 2);
    }
}

static void softmax_backward(const Softmax& o, V* a) {
  const V *y = a + o.y, *dy = a + o.dy;
  V* dx = a + o.dx;
  for (int64_t at = 0; at < o.places; ++at) {
    V total{};
    for (int64_t j = at; j < o.c * o.places; j += o.places) total += o.logarithm ? dy[j] : dy[j] * y[j];
    for (int64_t j = at; j < o.c * o.places; j += o.places) {
      const V own = o.logarithm ? dy[j] - by_lane(y[j], [](float v) { return expf(v); }) * total : y[j] * (dy[j] - total);
      put(dx + j, own, o.accumulate);
    }
  }
}

static void linear_op_forward(const Run& run, const Linear& o, V* a, Share share) {
  const int64_t k = share.begin(o.k, 8), end = share.end(o.k, 8);
  const float* parameters = run.call.parameters;
  linear_forward<1>(a + o.x, a + o.y + k, 0, parameters + o.weight + k * o.c, o.bias >= 0 ? parameters + o.bias + k : nullptr,
                    o.c, end - k, o.relu != 0);
}

// Stage 0 keeps x and dy for finish_task, which makes dw of a whole round at once; 1 makes dx.
static void linear_op_backward(const Run& run, const Linear& o, V* a, float* slot, int64_t micro_batch, int stage, Share share) {
  if (stage == 1) {
    const int64_t c = share.begin(o.c, 8), end = share.end(o.c, 8);
    return linear_backward_x(a + o.dy, a + o.dx, run.call.parameters + o.weight, o.c, o.k, c, end, o.accumulate != 0);
  }
  const int64_t at = micro_batch - run.first, k = share.begin(o.k), end = share.end(o.k);
  through_relu(a + o.y, a + o.dy, 1, o.relu != 0, place_in(slot, o.bias), k, end);
  if (share.index == 0 && o.reads_input == NONE)
    turn_over(reinterpret_cast<const float*>(a + o.x), L, kept_x(run, o) + at * L * o.c, o.c, o.c);
  memcpy(kept_dy(run, o) + (at * o.k + k) * L, a + o.dy + k, (end - k) * sizeof(V));
}

static void forward(const Run& run, const Op& op, V* a, int64_t micro_batch, int stage, Share share) {
  const int32_t* table = run.program.table;
  const float* parameters = run.call.parameters;
  switch (op.kind) {
    case Kind::CONV: {
      const auto& o = as<Conv>(op);
      return few(run, o, micro_batch) ? few_forward(run, o, a, micro_batch, stage, share) : conv_forward(run, o, a, stage, share);
    }
    case Kind::LINEAR: return linear_op_forward(run, as<Linear>(op), a, share);
    case Kind::MAX_POOL: return pool_forward(run, as<MaxPool>(op), a, share);
    case Kind::AVERAGE_POOL: return pool_forward(run, as<AveragePool>(op), a, share);
    case Kind::POWER_POOL: return pool_forward(run, as<PowerPool>(op), a, share);
    case Kind::RELU: return each(as<Relu>(op), a, share, [](V x) { return choose(x <= 0.0f, V{}, x); });
    case Kind::LEAKY_RELU: {
      const auto& o = as<LeakyRelu>(op);
      const auto slope = static_cast<float>(o.slope);
      return each(o, a, share, [slope](V x) { return choose(x > 0.0f, x, x * slope); });
    }
    case Kind::SIGMOID: return each(as<Sigmoid>(op), a, share, [](V x) { return by_lane(x, stable_sigmoid); });
    case Kind::TANH: return each(as<Tanh>(op), a, share, [](V x) { return by_lane(x, tanhf); });
    case Kind::CURVE: {
      const auto& o = as<Curve>(op);
      return curve_forward(o.function, o.a, o.b, a + o.x, a + o.y, share.begin(o.count), share.end(o.count));
    }
    case Kind::SOFTMAX: {
      const auto& o = as<Softmax>(op);
      return softmax(a + o.x, a + o.y, o.c, o.places, o.logarithm != 0);
    }
    case Kind::DROPOUT: {
      const auto& o = as<Dropout>(op);
      return drop(run, o, a + o.x, a + o.y, micro_batch, false, share);
    }
    case Kind::BATCH_NORM: return batch_norm_forward(run, as<BatchNorm>(op), a, micro_batch);
    case Kind::RESPONSE_NORM: return response_norm_forward(as<ResponseNorm>(op), a);
    case Kind::INSTANCE_NORM: {
      const auto& o = as<InstanceNorm>(op);
      return instance_norm(a + o.x, a + o.y, parameters + o.weight, parameters + o.bias, o.places, static_cast<float>(o.epsilon),
                           share.begin(o.c), share.end(o.c));
    }
    case Kind::PRELU: {
      const auto& o = as<Prelu>(op);
      return prelu(a + o.x, a + o.y, parameters + o.weight, table + o.map, share.begin(o.count), share.end(o.count));
    }
    default: return tensor_forward(run, op, a, share);
  }
}

static void backward(const Run& run, const Op& op, V* a, int64_t micro_batch, float* slot, int stage, Share share) {
  const int32_t* table = run.program.table;
  const float* parameters = run.call.parameters;
  switch (op.kind) {
    case Kind::CONV: {
      const auto& o = as<Conv>(op);
      return o.winners ? winners_backward(run, o, a, slot, micro_batch, stage, share) : conv_backward(run, o, a, slot, stage, share);
    }
    case Kind::LINEAR: return linear_op_backward(run, as<Linear>(op), a, slot, micro_batch, stage, share);
    case Kind::INSTANCE_NORM: {
      const auto& o = as<InstanceNorm>(op);
      return instance_norm_backward(a + o.x, a + o.dy, o.dx >= 0 ? a + o.dx : nullptr, parameters + o.weight, slot + o.weight,
                                    slot + o.bias, o.places, static_cast<float>(o.epsilon), o.accumulate != 0, share.begin(o.c),
                                    share.end(o.c));
    }
    case Kind::PRELU: {
      const auto& o = as<Prelu>(op);
      return prelu_backward(a + o.x, a + o.dy, o.dx >= 0 ? a + o.dx : nullptr, parameters + o.weight, slot + o.weight,
                            table + o.map, o.count, o.accumulate != 0);
    }
    case Kind::VALUE: {
      const auto& o = as<Value>(op);
      const V* dy = a + o.dy;
      if (o.weight < 0 || o.dy < 0) return;
      for (int64_t j = share.begin(o.count), end = share.end(o.count); j < end; ++j) slot[o.weight + j] += horizontal_sum(dy[j]);
      return;
    }
    default: break;
  }
  // The rest has no parameters of its own, or has their gradients from sums over the batch (norm.inl).
  if (ends_of(op).dx < 0) return;
  switch (op.kind) {
    case Kind::MAX_POOL: return pool_backward(run, as<MaxPool>(op), a, share);
    case Kind::AVERAGE_POOL: return pool_backward(run, as<AveragePool>(op), a, share);
    case Kind::POWER_POOL: return pool_backward(run, as<PowerPool>(op), a, share);
    case Kind::RELU: return each_back(as<Relu>(op), a, share, [](V, V y, V dy) { return choose(y > 0.0f, dy, V{}); });
    case Kind::LEAKY_RELU: {
      const auto& o = as<LeakyRelu>(op);
      const auto slope = static_cast<float>(o.slope);
      return each_back(o, a, share, [slope](V x, V, V dy) { return choose(x > 0.0f, dy, dy * slope); });
    }
    case Kind::SIGMOID: return each_back(as<Sigmoid>(op), a, share, [](V, V y, V dy) { return dy * y * (1.0f - y); });
    case Kind::TANH: return each_back(as<Tanh>(op), a, share, [](V, V y, V dy) { return dy * (1.0f - y * y); });
    case Kind::CURVE: {
      const auto& o = as<Curve>(op);
      return curve_backward(o.function, o.a, o.b, a + o.x, a + o.dy, a + o.dx, share.begin(o.count), share.end(o.count),
                            o.accumulate != 0);
    }
    case Kind::SOFTMAX: return softmax_backward(as<Softmax>(op), a);
    case Kind::DROPOUT: {
      const auto& o = as<Dropout>(op);
      return drop(run, o, a + o.dy, a + o.dx, micro_batch, o.accumulate != 0, share);
    }
    case Kind::BATCH_NORM: return batch_norm_backward(run, as<BatchNorm>(op), a, micro_batch);
    case Kind::RESPONSE_NORM: return response_norm_backward(as<ResponseNorm>(op), a);
    default: return tensor_backward(run, op, a, share);
  }
}
