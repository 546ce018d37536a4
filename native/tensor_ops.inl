// Tensors moved about and combined: what plan/tensors.py writes turned into calls of tensors.inl. Included by executor.cpp
// inside the namespace of one instruction set.

// y[j] = f(x[j]) of a share of them.
template <class O, class F>
static void each(const O& o, V* a, Share share, F f) {
  const V* x = a + o.x;
  V* y = a + o.y;
  for (int64_t j = share.begin(o.count), end = share.end(o.count); j < end; ++j) y[j] = f(x[j]);
}

// dx[j] = or += f(x[j], y[j], dy[j]).
template <class O, class F>
static void each_back(const O& o, V* a, Share share, F f) {
  const V *x = a + o.x, *y = a + o.y, *dy = a + o.dy;
  V* dx = a + o.dx;
  for (int64_t j = share.begin(o.count), end = share.end(o.count); j < end; ++j) put(dx + j, f(x[j], y[j], dy[j]), o.accumulate);
}

static ProductTask product_of(const MatMul& o, V* a, bool back) {
  const V *x = a + o.x, *second = a + o.second, *dy = a + o.dy;
  const int64_t left = o.p * o.c, right = o.c * o.q, out = o.p * o.q;
  if (!back) return {x, left, o.c, 1, second, right, o.q, 1, a + o.y, o.groups, o.p, o.q, o.c, false};
  const bool add = o.accumulate != 0;
  if (o.gradient_only)  // secondᵀ·dy
    return {second, left, 1, o.c, dy, out, o.q, 1, a + o.dx, o.groups, o.c, o.q, o.p, add};
  return {dy, out, o.q, 1, second, right, 1, o.q, a + o.dx, o.groups, o.p, o.c, o.q, add};  // dy·secondᵀ
}

static Resampling resampling_of(const Resample& o, const int32_t* table) {
  return {o.h, o.p, o.w, table + o.starts, table + o.places, reinterpret_cast<const float*>(table + o.shares)};
}

static void move_forward(const Run& run, const Move& o, V* a, Share share) {
  const int32_t* map = run.program.table + o.map;
  const V* x = a + o.x;
  V* y = a + o.y;
  const int64_t j0 = share.begin(o.count), j1 = share.end(o.count);
  if (!o.scatter) return gather(x, y, map, static_cast<float>(o.otherwise), j0, j1);
  for (int64_t j = j0; j < j1; ++j) y[map[j]] = x[j];
}

static void move_backward(const Run& run, const Move& o, V* a, Share share) {
  const int32_t* map = run.program.table + o.map;
  const V* dy = a + o.dy;
  V* dx = a + o.dx;
  if (o.scatter) {
    for (int64_t j = share.begin(o.count), end = share.end(o.count); j < end; ++j) put(dx + j, dy[map[j]], o.accumulate);
    return;
  }
  if (!o.accumulate) memset(dx, 0, o.sources * sizeof(V));
  gather_backward(dy, dx, map, o.count);
}

static void tensor_forward(const Run& run, const Op& op, V* a, Share share) {
  const int32_t* table = run.program.table;
  switch (op.kind) {
    case Kind::COPY: {
      const auto& o = as<Copy>(op);
      const auto factor = static_cast<float>(o.factor);
      const V* x = a + o.x;
      V* y = a + o.y;
      for (int64_t j = share.begin(o.count), end = share.end(o.count); j < end; ++j) y[j] = o.add ? y[j] + factor * x[j] : factor * x[j];
      return;
    }
    case Kind::MOVE: return move_forward(run, as<Move>(op), a, share);
    case Kind::PAIR: {
      const auto& o = as<Pair>(op);
      if (o.gradient_only) return;
      return pair_forward(o.pairing, o.relu != 0, a + o.x, a + o.second, a + o.y, share.begin(o.count), share.end(o.count));
    }
    case Kind::REDUCE: {
      const auto& o = as<Reduce>(op);
      return reduce(o.reduction, a + o.x, a + o.y, table + o.map, o.each, share.begin(o.outputs), share.end(o.outputs));
    }
    case Kind::MATMUL:
      if (!as<MatMul>(op).gradient_only) product(product_of(as<MatMul>(op), a, false), share);
      return;
    case Kind::RESAMPLE: {
      const auto& o = as<Resample>(op);
      return resample(resampling_of(o, table), a + o.x, a + o.y, static_cast<float>(o.otherwise), share.begin(o.c), share.end(o.c));
    }
    case Kind::VALUE: {
      const auto& o = as<Value>(op);
      const float* from = o.weight >= 0 ? run.call.parameters + o.weight : run.call.state + o.state;
      V* y = a + o.y;
      for (int64_t j = share.begin(o.count), end = share.end(o.count); j < end; ++j) y[j] = splat(from[j]);
      return;
    }
    default: return;  // the verifier has seen that there is no other kind
  }
}

static void tensor_backward(const Run& run, const Op& op, V* a, Share share) {
  const int32_t* table = run.program.table;
  switch (op.kind) {
    case Kind::COPY: {
      const auto& o = as<Copy>(op);
      const auto factor = static_cast<float>(o.factor);
      return each_back(o, a, share, [factor](V, V, V dy) { return factor * dy; });
    }
    case Kind::MOVE: return move_backward(run, as<Move>(op), a, share);
    case Kind::PAIR: {
      const auto& o = as<Pair>(op);
      const bool turned = o.gradient_only != 0;
      const V *first = a + (turned ? o.second : o.x), *second = a + (turned ? o.x : o.second);
      return pair_backward(o.pairing, o.relu != 0, turned, first, second, a + o.y, a + o.dy, a + o.dx, o.accumulate != 0,
                           share.begin(o.count), share.end(o.count));
    }
    case Kind::REDUCE: {
      const auto& o = as<Reduce>(op);
      return reduce_backward(o.reduction, a + o.x, a + o.y, a + o.dy, a + o.dx, table + o.map, o.each, o.accumulate != 0,
                             share.begin(o.outputs), share.end(o.outputs));
    }
    case Kind::MATMUL: return product(product_of(as<MatMul>(op), a, true), share);
    case Kind::RESAMPLE: {
      const auto& o = as<Resample>(op);
      return resample_backward(resampling_of(o, table), a + o.dy, a + o.dx, o.accumulate != 0, share.begin(o.c), share.end(o.c));
    }
    default: return;
  }
}
