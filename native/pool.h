// Threads that stay (pool.cpp): a visit is a call from Python; the scheduler runs regions in it.
#pragma once
#include <cstdint>

namespace striate {

constexpr int64_t MOST_THREADS = 256;

// Run task(i, thread, context) for i = 0 … tasks−1 on up to `threads` threads; returns when all are done.
using Task = void (*)(int64_t index, int64_t thread, void* context);
void parallel(int64_t tasks, int64_t threads, Task task, void* context);
// Run task(t, t, context) once on each of `threads` threads: what a thread does in one such region lies in its cache
// for the next.
void on_each(int64_t threads, Task task, void* context);

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
