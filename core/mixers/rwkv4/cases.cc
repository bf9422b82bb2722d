#include "core/mixers/rwkv4/cases.h"

namespace microtome::mixers {

std::vector<MixerCase> rwkv4_cases() {
  MixerCase plain, narrow;
  plain.name = "plain";
  plain.d_model = 12;
  plain.params.set("width", int64_t{12});
  narrow.name = "narrow";
  narrow.d_model = 16;
  narrow.pos = 40;
  narrow.params.set("width", int64_t{6});
  return {plain, narrow};
}

}  // namespace microtome::mixers
