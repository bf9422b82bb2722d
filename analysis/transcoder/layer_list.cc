#include "analysis/transcoder/layer_list.h"

#include <algorithm>
#include <charconv>

#include "core/base/status.h"

namespace microtome::analyses {

std::vector<int64_t> read_layers(const std::string& text, int64_t layers) {
  std::vector<int64_t> out;
  if (text == "all" || text.empty()) {
    for (int64_t l = 0; l < layers; ++l) out.push_back(l);
    return out;
  }
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find(',', from), text.size());
    int64_t first = -1, last = -1;
    const char *at = text.data() + from, *end = text.data() + to;
    auto [next, error] = std::from_chars(at, end, first);
    bool good = error == std::errc();
    last = first;
    if (good && next != end && *next == '-') {
      auto [rest, wrong] = std::from_chars(next + 1, end, last);
      good = wrong == std::errc() && rest == end;
    } else {
      good = good && next == end;
    }
    if (!good || first < 0 || last < first || last >= layers)
      throw Error(StatusCode::kBadInput, "'" + text.substr(from, std::min<size_t>(to - from, 60)) + "' names no layers of this model", "param layers",
                  "layers go from 0 to " + std::to_string(layers - 1) + "; write all, or 0,2-3");
    for (int64_t l = first; l <= last; ++l) out.push_back(l);
    from = to + 1;
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace microtome::analyses
