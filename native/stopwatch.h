// Adds the time of its life to an op's, where the call asked for that.
#pragma once
#include <time.h>

#include "run.h"

namespace striate {

class Stopwatch {
 public:
  Stopwatch(const Run& run, int64_t op, bool back)
      : total_(run.call.seconds ? run.call.seconds + 2 * op + back : nullptr), began_(total_ ? now() : 0.0) {}
  ~Stopwatch() {
    if (total_) *total_ += now() - began_;
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  static double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }

  double* total_;
  double began_;
};

}  // namespace striate
