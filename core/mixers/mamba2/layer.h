// layer.h — the layer around Mamba-2's recurrence: one input projection, one convolution over x, B and C, step sizes, gate
// and gated norm, output projection. Kinds that differ in the recurrence alone override mix().
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "core/mixers/mamba2/parts.h"

namespace microtome::mixers {

class Mamba2Layer : public TokenMixer {
 public:
  // Throws Error(kBadInput) naming a weight that is absent or of another shape than specs says.
  Mamba2Layer(Mamba2Config config, MixerInfo info, WeightMap weights, const std::vector<WeightSpec>& specs);
  const MixerInfo& info() const override { return info_; }
  at::Tensor forward(const MixerInput& in, MixerState* state, HookScope& hooks, const MixerRun& run) const override;

 protected:
  // z [batch, pos, head, d_v] from q = C and k = dt B once a head, v = x, g = A dt and the skip D; keeps what it needs in
  // state (null: nothing). projected: what in_proj made of in.x, [batch, pos, rows].
  virtual at::Tensor mix(RecurrenceInput& r, const MixerInput& in, const at::Tensor& projected, MixerState* state,
                         HookScope& hooks, const MixerRun& run) const;

  // `heads` times `width` rows of the input projection from `from` on: [batch, pos, heads, width]; with a split input of
  // the role [batch, pos, head, width], once a head.
  at::Tensor part(const MixerInput& in, const at::Tensor& projected, const char* role, int64_t from, int64_t heads,
                  int64_t width, double multiplier) const;
  const at::Tensor& weight(const std::string& name) const { return w_.at(name); }
  const Mamba2Config& config() const { return c_; }

 private:
  at::Tensor by_head(const at::Tensor& x, int64_t axis) const;
  at::Tensor to_heads(const at::Tensor& x) const;
  void convolve(at::Tensor (&vkq)[3], MixerState* state, HookScope& hooks) const;
  at::Tensor norm(const at::Tensor& y) const;
  at::Tensor output(const at::Tensor& z, const at::Tensor& gate, HookScope& hooks) const;

  Mamba2Config c_;
  MixerInfo info_;
  WeightMap w_;
  at::Tensor group_;                   // of each head
};

}  // namespace microtome::mixers
