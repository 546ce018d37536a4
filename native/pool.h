// What the bindings ask of the threads that stay (pool.cpp). The executor knows only `parallel` and `on_each` (program.h).
#pragma once
#include <cstdint>

namespace striate {

constexpr int64_t MOST_THREADS = 256;

// One call from Python, from its beginning to its end: it starts what threads are missing, so that nothing within the call
// is allocated or fails; and it counts, since calls that run at the same time share the cores.
class Visit {
 public:
  explicit Visit(int64_t threads);
  ~Visit();
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

  // Threads that this process was allowed, the caller's own among them, if these are fewer than it asked for and that was
  // not yet said; else 0.
  int64_t refused() const { return refused_; }

 private:
  void* pool_ = nullptr;
  int64_t refused_ = 0;
};

}  // namespace striate
