// The loss of each image of a micro-batch, in double, and its gradient for the scores: s and ds (features) of each lane.
//
// A kernel only for its bits: where the instruction set has fused multiply-adds, its sums in double are made of them.
#pragma once
#include <math.h>
#include <string.h>

#include "op.h"

namespace striate::STRIATE_ISA {

static void loss_gradient(const At& at) {
  const Run& run = at.run;
  const float* s = at.arena + run.program.outputs[0].place * L;
  float* ds = at.arena + run.program.outputs[0].gradient * L;
  const int64_t features = run.program.outputs[0].vectors;
  const double count = static_cast<double>(run.call.n), parameter = run.call.loss_parameter;
  memset(ds, 0, features * sizeof(V));
  for (int l = 0; l < at.images; ++l) {
    const int64_t image = at.micro_batch * L + l;
    const int64_t label = run.call.labels ? run.call.labels[image] : -1;
    const float* wanted = run.call.targets ? run.call.targets + image * features : nullptr;
    double value = 0.0;
    if (run.call.loss == CROSS_ENTROPY) {
      double most = s[l], total = 0.0;
      for (int64_t i = 1; i < features; ++i) if (s[i * L + l] > most) most = s[i * L + l];
      for (int64_t i = 0; i < features; ++i) total += exp(s[i * L + l] - most);
      const double log_total = log(total), spread = parameter / static_cast<double>(features);
      const auto truth_at = [&](int64_t i) {
        return spread + (wanted ? (1.0 - parameter) * wanted[i] : i == label ? 1.0 - parameter : 0.0);
      };
      double sum = 1.0;  // of a row; one of floats need not add up to 1 in the last digits
      if (wanted) {
        sum = 0.0;
        for (int64_t i = 0; i < features; ++i) sum += truth_at(i);
      }
      for (int64_t i = 0; i < features; ++i) {
        const double truth = truth_at(i), log_p = s[i * L + l] - most - log_total;
        if (truth != 0.0) value -= truth * log_p;
        ds[i * L + l] = static_cast<float>((exp(log_p) * sum - truth) / count);
      }
    } else if (run.call.loss == HINGE) {
      double violated = 0.0;
      for (int64_t i = 0; i < features; ++i) {
        if (i == label) continue;
        const float margin = s[i * L + l] - s[label * L + l] + static_cast<float>(parameter);
        if (margin > 0.0f) {
          value += margin;
          violated += 1.0;
          ds[i * L + l] = static_cast<float>(1.0 / count);
        } else if (margin != margin) {
          value = margin;
        }
      }
      ds[label * L + l] = static_cast<float>(-violated / count);
    } else {
      const double size = static_cast<double>(features);
      for (int64_t i = 0; i < features; ++i) {
        const double target = wanted ? wanted[i] : (i == label ? 1.0 : 0.0);
        const double difference = s[i * L + l] - target;
        value += difference * difference / size;
        ds[i * L + l] = static_cast<float>(2.0 * difference / (count * size));
      }
    }
    run.call.losses[image] = value;
  }
}

}  // namespace striate::STRIATE_ISA
