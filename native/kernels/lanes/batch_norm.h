// Batch normalization over lanes. In training its statistics are sums over the whole batch, or over each of a round's groups of
// images, made between two segments: an image's sums first (one task a micro-batch), then a group's, added up in the images'
// order in double. x and y (c, places).
#pragma once
#include <math.h>

#include "op.h"

namespace striate::STRIATE_ISA {

// (5, C) of one group of images: mean, 1/deviation, the two means of the backward pass, variance.
static float* statistics_of(const Run& run, const BatchNorm& o, int64_t group) {
  return run.statistics + o.statistics * run.groups + group * 5 * o.c;
}

// Number `number` of those, for each lane's image.
static V statistic(const Run& run, const BatchNorm& o, int64_t micro_batch, int64_t number) {
  if (!o.ghost) return splat(statistics_of(run, o, 0)[number]);
  V value{};
  for (int l = 0; l < L; ++l) {
    const int64_t image = micro_batch * L + l;
    value[l] = statistics_of(run, o, (image < run.call.n ? image : run.call.n - 1) / o.ghost)[number];
  }
  return value;
}

static void forward(const At& at, const BatchNorm& o) {
  const float *weight = at.run.call.parameters + o.weight, *bias = at.run.call.parameters + o.bias;
  const float *mean = at.run.call.state + o.state, *var = mean + o.c;
  const V* x = arena(at) + o.x;
  V* y = arena(at) + o.y;
  for (int64_t c = begin_of(at.share, o.c), last = end_of(at.share, o.c); c < last; ++c) {
    const bool own = at.run.program.frame.training != 0;
    const V center = own ? statistic(at.run, o, at.micro_batch, c) : splat(mean[c]);
    const V inverse = own ? statistic(at.run, o, at.micro_batch, o.c + c)
                          : splat(1.0f / sqrtf(var[c] + static_cast<float>(o.epsilon)));
    for (int64_t j = c * o.places; j < (c + 1) * o.places; ++j) {
      const V value = scaled((x[j] - center) * inverse, weight[c], bias[c]);
      y[j] = o.relu ? choose(value <= 0.0f, V{}, value) : value;
    }
  }
}

// dx = weight/deviation · (dy − mean(dy) − x̂·mean(dy·x̂)); lanes without an image get nothing. dw and db come from the sums.
static void backward(const At& at, const BatchNorm& o) {
  if (o.dx < 0) return;
  V* a = arena(at);
  const V *x = a + o.x, *dy = a + o.dy;
  V* dx = a + o.dx;
  VI mask;
  for (int l = 0; l < L; ++l) mask[l] = l < at.images ? -1 : 0;
  for (int64_t c = begin_of(at.share, o.c), last = end_of(at.share, o.c); c < last; ++c) {
    const auto of = [&](int64_t number) { return statistic(at.run, o, at.micro_batch, number * o.c + c); };
    const V center = of(0), inverse = of(1), mean_dy = of(2), mean_product = of(3);
    const float weight = at.run.call.parameters[o.weight + c], bias = at.run.call.parameters[o.bias + c];
    const V scale = weight * inverse;
    for (int64_t j = c * o.places; j < (c + 1) * o.places; ++j) {
      const V normalized = (x[j] - center) * inverse;
      const V upstream = o.relu ? choose(scaled(normalized, weight, bias) > 0.0f, dy[j], V{}) : dy[j];
      put(dx + j, choose(mask, scale * (upstream - mean_dy - normalized * mean_product), V{}), o.accumulate);
    }
  }
}

// ── sums of each image ───────────────────────────────────────────────────────────────────────────

// Of one micro-batch, a share of the channels, to run.sums (image, 2, widest). Forward: Σx, and Σ(x − m)² around the image's own mean m, while
// its numbers are in the cache. Backward: Σdy and Σdy·x̂, dy being what a fused ReLU lets through.
static void norm_sums(const At& at, const BatchNorm& o, bool back) {
  const V *x = arena(at) + o.x, *dy = arena(at) + o.dy;
  const float *weight = at.run.call.parameters + o.weight, *bias = at.run.call.parameters + o.bias;
  const int64_t apart = at.run.widest * 2;
  double* out = at.run.sums + (at.micro_batch - at.run.first) * L * apart;
  for (int64_t c = begin_of(at.share, o.c), last = end_of(at.share, o.c); c < last; ++c) {
    const int64_t begin = c * o.places, end = begin + o.places;
    V first, second{};
    if (back) {
      const V center = statistic(at.run, o, at.micro_batch, c), inverse = statistic(at.run, o, at.micro_batch, o.c + c);
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
    for (int l = 0; l < at.images; ++l) {
      out[l * apart + c] = first[l];
      out[l * apart + o.c + c] = second[l];
    }
  }
}

// ── sums of each group ───────────────────────────────────────────────────────────────────────────

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
  return {run.first * L / o.ghost, groups_of(o, run.last * L < run.call.n ? run.last * L : run.call.n)};
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

// Where the running statistics are constants: the same for every image, and no mean comes back out of the gradient.
static void frozen_statistics(const Run& run, const BatchNorm& o) {
  const float *mean = run.call.state + o.state, *var = mean + o.c;
  float* batch = statistics_of(run, o, 0);
  for (int64_t c = 0; c < o.c; ++c) {
    batch[c] = mean[c];
    batch[o.c + c] = static_cast<float>(1.0 / sqrt(var[c] + o.epsilon));
  }
}

// with(group, its sums, its statistics) for each group of the round.
template <class F>
static void each_group(const Run& run, const BatchNorm& o, F with) {
  const Groups round = groups_of_round(run, o);
  for (int64_t g = round.first; g < round.last; ++g) {
    const Group group = group_of(run, o, g);
    with(group, totals(run, o, group), statistics_of(run, o, g));
  }
}

// Mean and deviation of each group. What its images' squares lack, since each was taken around its own mean, is added:
// Σ(x − mean)² = Σ over images of Σ(x − m)² + P·(m − mean)².
static void norm_statistics(const Run& run, const BatchNorm& o) {
  if (o.frozen) return frozen_statistics(run, o);
  const double epsilon = o.epsilon, places = static_cast<double>(o.places);
  each_group(run, o, [&](const Group& group, const double* total, float* batch) {
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
  });
}

// The two means of the backward pass, and dw and db, which are the sums themselves: into slot 0, cleared by the first segment.
static void norm_statistics_back(const Run& run, const BatchNorm& o) {
  each_group(run, o, [&](const Group& group, const double* total, float* batch) {
    for (int64_t c = 0; c < o.c; ++c) {
      batch[2 * o.c + c] = o.frozen ? 0.0f : static_cast<float>(total[c] / group.count);
      batch[3 * o.c + c] = o.frozen ? 0.0f : static_cast<float>(total[o.c + c] / group.count);
      run.slot[o.bias + c] += static_cast<float>(total[c]);
      run.slot[o.weight + c] += static_cast<float>(total[o.c + c]);
    }
  });
}

// running ← (1 − momentum)·running + momentum·batch. Of groups, their mean by images.
static void norm_running(const Run& run, const BatchNorm& o) {
  const double momentum = o.momentum, all = static_cast<double>(run.call.n * o.places);
  float *mean = run.call.state + o.state, *var = mean + o.c;
  for (int64_t c = 0; c < o.c; ++c) {
    double center = 0.0, spread = 0.0;
    for (int64_t g = 0; g < groups_of(o, run.call.n); ++g) {
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

}  // namespace striate::STRIATE_ISA
