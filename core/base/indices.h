// indices.h — strong integers, so that a head number cannot be passed where a layer is expected.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace microtome {

template <class Tag>
struct StrongIndex {
  int64_t value = 0;
  constexpr StrongIndex() = default;
  constexpr explicit StrongIndex(int64_t v) : value(v) {}
  constexpr auto operator<=>(const StrongIndex&) const = default;
  constexpr StrongIndex& operator++() { ++value; return *this; }
};

using LayerIndex = StrongIndex<struct LayerTag>;
using HeadIndex = StrongIndex<struct HeadTag>;
using Position = StrongIndex<struct PositionTag>;
using TokenId = StrongIndex<struct TokenTag>;
using FeatureIndex = StrongIndex<struct FeatureTag>;

}  // namespace microtome
