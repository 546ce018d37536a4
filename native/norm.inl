// Batch normalization's sums over the whole batch (or over each of a round's groups), between two segments: an image's sums
// first, added up in the images' order in double. Included by executor.cpp inside the namespace of one instruction set.

// Sums of each image of one micro-batch for the norm in hand. Forward: Σx, and Σ(x − m)² around the image's own mean m, while
// its numbers are in the cache. Backward: Σdy and Σdy·x̂, dy being what a fused ReLU lets through.
static void sums_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const auto& o = as<BatchNorm>(run.op(run.at));
  const int64_t mb = run.first + index;
  const V *x = run.arena_of(mb, 0) + o.x, *dy = run.arena_of(mb, 0) + o.dy;
  const float *weight = run.call.parameters + o.weight, *bias = run.call.parameters + o.bias;
  double* out = run.sums + index * L * run.widest * 2;
  for (int64_t c = 0; c < o.c; ++c) {
    const int64_t begin = c * o.places, end = begin + o.places;
    V first, second{};
    if (run.back) {
      const V center = statistic(run, o, mb, c), inverse = statistic(run, o, mb, o.c + c);
      const bool relu = o.relu != 0;
      V products[2]{};
      first = sum_over(begin, end, [&](int64_t j) {
        const V normalized = (x[j] - center) * inverse;
        const V upstream = relu ? choose(scaled(normalized, weight[c], bias[c]) > 0.0f, dy[j], V{}) : dy[j];
        products[j & 1] += upstream * normalized;
        return upstream;
      });
      second = products[0] + products[1];
    } else {
      first = sum_over(begin, end, [&](int64_t j) { return x[j]; });
      const V own = first / static_cast<float>(o.places);
      second = sum_over(begin, end, [&](int64_t j) { return (x[j] - own) * (x[j] - own); });
    }
    for (int l = 0; l < run.valid(mb); ++l) {
      out[l * run.widest * 2 + c] = first[l];
      out[l * run.widest * 2 + o.c + c] = second[l];
    }
  }
}

struct Group {
  int64_t first, last;  // images
  double count;         // numbers a channel
};

static Group group_of(const Run& run, const BatchNorm& o, int64_t g) {
  const int64_t size = o.ghost ? o.ghost : run.call.n, first = g * size;
  const int64_t last = first + size < run.call.n ? first + size : run.call.n;
  return {first, last, static_cast<double>((last - first) * o.places)};
}

// The groups of the round in hand: a round never cuts one.
struct Groups {
  int64_t first, last;
};

static Groups groups_of_round(const Run& run, const BatchNorm& o) {
  if (!o.ghost) return {0, 1};
  return {run.first * L / o.ghost, groups(smaller(run.last * L, run.call.n), o)};
}

static const double* sums_of(const Run& run, int64_t image) { return run.sums + (image - run.first * L) * run.widest * 2; }

// One group's sums, 2·C of them, behind those of the images.
static const double* totals(const Run& run, const BatchNorm& o, const Group& group) {
  double* total = run.sums + run.round * L * run.widest * 2;
  for (int64_t c = 0; c < 2 * o.c; ++c) total[c] = 0.0;
  for (int64_t image = group.first; image < group.last; ++image)
    for (int64_t c = 0; c < 2 * o.c; ++c) total[c] += sums_of(run, image)[c];
  return total;
}

// Mean and deviation of each group. What its images' squares lack, since each was taken around its own mean, is added:
// Σ(x − mean)² = Σ over images of Σ(x − m)² + P·(m − mean)².
static void normalize_batch(Run& run, int64_t op) {
  const auto& o = as<BatchNorm>(run.op(op));
  const double epsilon = o.epsilon, places = static_cast<double>(o.places);
  run.at = op;
  parallel(run.last - run.first, run.call.threads, sums_task, &run);
  const Groups round = groups_of_round(run, o);
  for (int64_t g = round.first; g < round.last; ++g) {
    const Group group = group_of(run, o, g);
    const double* total = totals(run, o, group);
    float* batch = statistics_of(run, o, g);
    for (int64_t c = 0; c < o.c; ++c) {
      const double mean = total[c] / group.count;
      double squares = total[o.c + c];
      for (int64_t image = group.first; image < group.last; ++image) {
        const double away = sums_of(run, image)[c] / places - mean;
        squares += places * away * away;
      }
      batch[c] = static_cast<float>(mean);
      batch[o.c + c] = static_cast<float>(1.0 / sqrt(squares / group.count + epsilon));
      batch[4 * o.c + c] = static_cast<float>(squares / group.count);
    }
  }
}

// running ← (1 − momentum)·running + momentum·batch, only once the loss proved finite. Of groups, their mean by images.
static void move_running(const Run& run) {
  for (int64_t i = 0; i < run.program.n_ops; ++i) {
    if (run.op(i).kind != Kind::BATCH_NORM) continue;
    const auto& o = as<BatchNorm>(run.op(i));
    const double momentum = o.momentum, all = static_cast<double>(run.call.n * o.places);
    float *mean = run.call.state + o.state, *var = mean + o.c;
    for (int64_t c = 0; c < o.c; ++c) {
      double center = 0.0, spread = 0.0;
      for (int64_t g = 0; g < groups(run.call.n, o); ++g) {
        const double count = group_of(run, o, g).count, less = o.unbiased;  // 1: unbiased, 0: biased
        const double unbiased = less == 0.0 ? 1.0 : count / (count > 2.0 ? count - 1.0 : 1.0);
        const float* batch = statistics_of(run, o, g);
        center += count / all * batch[c];
        spread += count / all * unbiased * batch[4 * o.c + c];
      }
      mean[c] = static_cast<float>((1.0 - momentum) * mean[c] + momentum * center);
      var[c] = static_cast<float>((1.0 - momentum) * var[c] + momentum * spread);
    }
  }
}

static void normalize_batch_backward(Run& run, int64_t op) {
  const auto& o = as<BatchNorm>(run.op(op));
  run.at = op;
  parallel(run.last - run.first, run.call.threads, sums_task, &run);
  const Groups round = groups_of_round(run, o);
  for (int64_t g = round.first; g < round.last; ++g) {
    const Group group = group_of(run, o, g);
    const double* total = totals(run, o, group);
    float* batch = statistics_of(run, o, g);
    for (int64_t c = 0; c < o.c; ++c) {
      batch[2 * o.c + c] = static_cast<float>(total[c] / group.count);
      batch[3 * o.c + c] = static_cast<float>(total[o.c + c] / group.count);
      run.slot[o.bias + c] += static_cast<float>(total[c]);  // slot 0, cleared by the first segment
      run.slot[o.weight + c] += static_cast<float>(total[o.c + c]);
    }
  }
}
