#include "core/mixers/rg_lru/cases.h"

namespace microtome::mixers {

std::vector<MixerCase> rg_lru_cases() {
  MixerCase plain, narrow;
  plain.name = "plain";
  plain.d_model = 12;
  plain.params.set("width", int64_t{12});
  plain.params.set("num_heads", int64_t{3});
  narrow.name = "narrow_wide_window";
  narrow.d_model = 16;
  narrow.pos = 40;
  narrow.params.set("width", int64_t{6});
  narrow.params.set("num_heads", int64_t{2});
  narrow.params.set("conv_size", int64_t{6});
  narrow.params.set("activation", std::string("silu"));
  return {plain, narrow};
}

}  // namespace microtome::mixers
