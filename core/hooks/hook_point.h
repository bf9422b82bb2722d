// hook_point.h — the named places of a model where a run can be read, replaced or differentiated (spec: hook names
// are TransformerLens's where it has one). Free of LibTorch.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace microtome {

struct HookPoint {
  std::string name;                    // full: "blocks.3.attn.hook_z"; inside MixerInfo: "hook_z"
  std::vector<std::string> axes;       // batch pos head d_head d_model d_mlp vocab q_pos k_pos d_k d_v channel width …
  std::vector<int64_t> sizes;          // -1: follows the run (batch, pos, q_pos, k_pos); -n on k_pos: n entries a position
  bool on_request = false;             // costs extra memory or time; computed only when asked for by name
  std::string note;                    // e.g. "over key/value heads", "d_k × 1"
};

// Every point of one model. Immutable after building; thread-safe.
class HookCatalogue {
 public:
  void add(HookPoint p);
  const std::vector<HookPoint>& points() const { return points_; }
  // Exact name or alias ("blocks.0.mixer.hook_ssm_state" → "blocks.0.attn.hook_state"); null: unknown.
  const HookPoint* find(std::string_view name) const;
  // Names a glob selects: '*' within one dotted part or across parts, '?' one character, '{0,3}' alternatives.
  // Throws Error(kNotFound) listing the nearest names when nothing matches.
  std::vector<std::string> match(const std::string& pattern) const;
  std::vector<std::string> nearest(const std::string& name, size_t count = 4) const;
  // The canonical spelling of a name or pattern that uses aliases.
  static std::string canonical(std::string name);

 private:
  std::vector<HookPoint> points_;
  std::map<std::string, size_t, std::less<>> index_;
};

}  // namespace microtome
