// Philox4x32-10 (Salmon et al. 2011): random numbers that are functions of a counter and a key. How a draw is laid out is
// written down in philox.py. Internal linkage: units of different instruction sets include it.
#pragma once
#include <cstdint>

namespace striate {

static inline void philox(const uint32_t in[4], uint64_t key, uint32_t out[4]) {
  uint32_t c0 = in[0], c1 = in[1], c2 = in[2], c3 = in[3];
  auto low = static_cast<uint32_t>(key), high = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t first = uint64_t{0xD2511F53u} * c0, second = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(second >> 32) ^ c1 ^ low;
    c2 = static_cast<uint32_t>(first >> 32) ^ c3 ^ high;
    c1 = static_cast<uint32_t>(second);
    c3 = static_cast<uint32_t>(first);
    low += 0x9E3779B9u;
    high += 0xBB67AE85u;
  }
  out[0] = c0; out[1] = c1; out[2] = c2; out[3] = c3;
}

}  // namespace striate
