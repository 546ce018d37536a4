#include "instruction_sets.h"

#include <stdexcept>

namespace striate {

#if defined(__x86_64__)
namespace baseline { extern const Kernels kernels; }
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
#else
namespace baseline { extern const Kernels kernels; }
#endif

// Best first; filled once from what the processor says, and never destroyed: a daemon thread may read it at the end.
const std::vector<const Kernels*>& supported() {
  static const std::vector<const Kernels*>& found = *[] {
    auto* made = new std::vector<const Kernels*>;
    auto& list = *made;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
      list.push_back(&avx512::kernels);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list.push_back(&avx2::kernels);
#endif
    list.push_back(&baseline::kernels);
    return made;
  }();
  return found;
}

const Kernels& kernels_of(const std::string& isa) {
  for (const Kernels* one : supported())
    if (isa.empty() || isa == one->name) return *one;
  throw std::invalid_argument("this processor does not offer " + isa);
}

}  // namespace striate
