#include "core/base/artifact.h"

#include "core/base/status.h"

namespace microtome {

int64_t NamedArray::size() const {
  return std::visit([](const auto& v) { return static_cast<int64_t>(v.size()); }, data);
}

double NamedArray::at(int64_t flat) const {
  return std::visit(
      [&](const auto& v) {
        if (flat < 0 || flat >= static_cast<int64_t>(v.size()))
          throw Error(StatusCode::kInternal,
                      "index " + std::to_string(flat) + " of array '" + name + "' is out of range");
        return static_cast<double>(v[static_cast<size_t>(flat)]);
      },
      data);
}

const std::string& artifact_name(const Artifact& a) {
  return std::visit([](const auto& x) -> const std::string& { return x.name; }, a);
}

const char* artifact_kind(const Artifact& a) {
  static constexpr const char* kKinds[] = {"table", "tensors", "series", "text", "circuit", "features", "attribution_graph"};
  static_assert(std::variant_size_v<Artifact> == std::size(kKinds));
  return kKinds[a.index()];
}

}  // namespace microtome
