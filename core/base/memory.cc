#include "core/base/memory.h"

#include <algorithm>
#include <new>
#include <string_view>

namespace microtome {

bool out_of_memory(const std::exception& e) {
  if (dynamic_cast<const std::bad_alloc*>(&e)) return true;
  const std::string_view text = e.what();
  return text.find("out of memory") != text.npos || text.find("not enough memory") != text.npos;
}

void in_parts(int64_t count, int64_t& at_once, const std::function<void(int64_t from, int64_t n)>& work) {
  at_once = std::max<int64_t>(1, at_once);
  for (int64_t from = 0; from < count;) {
    const int64_t n = std::min(at_once, count - from);
    try {
      work(from, n);
    } catch (const std::exception& e) {
      if (!out_of_memory(e) || n <= 1) throw;
      at_once = n / 2;
      continue;
    }
    from += n;
  }
}

}  // namespace microtome
