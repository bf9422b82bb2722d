#include "core/families/binder.h"

#include <algorithm>

namespace microtome::families {

TensorBinding& Binder::add(std::string canonical, std::string source, std::vector<int64_t> shape) {
  TensorBinding b;
  b.canonical = std::move(canonical);
  b.source = std::move(source);
  b.source_shape = std::move(shape);
  out_.push_back(std::move(b));
  return out_.back();
}

void Binder::linear(const std::string& canonical, const std::string& source, int64_t out, int64_t in, bool bias,
                    bool stored_in_out) {
  if (stored_in_out) add(canonical + ".weight", source + ".weight", {in, out}).transpose = true;
  else add(canonical + ".weight", source + ".weight", {out, in});
  if (bias) add(canonical + ".bias", source + ".bias", {out});
}

void Binder::norm(const NormConfig& norm, const std::string& canonical, const std::string& source) {
  bind_norm(out_, norm, c_.d_model, canonical, source);
}

void Binder::mixer(size_t i, const std::string& source, const Renames& renames, const std::vector<std::string>& except) {
  const std::string to = block(i) + "attn.";
  for (TensorBinding& b : bind_mixer_weights(c_.layers[i], c_.d_model, to, "")) {
    auto begins = [&](const std::string& prefix) { return b.source.rfind(prefix, 0) == 0; };
    if (std::any_of(except.begin(), except.end(), begins)) continue;
    for (const auto& [mine, theirs] : renames)
      if (begins(mine)) {
        b.source = theirs + b.source.substr(mine.size());
        break;
      }
    b.source = source + b.source;
    out_.push_back(std::move(b));
  }
}

void Binder::fused_qkv(size_t i, const std::string& source, Fused how, bool stored_in_out) {
  const Params& p = c_.layers[i].mixer_params;
  const int64_t d = p.get_int("head_dim"), heads = p.get_int("num_heads"), kv = p.get_int("num_kv_heads", heads);
  const int64_t rows = (heads + 2 * kv) * d, counts[] = {heads, kv, kv};
  int64_t begin = 0;
  for (int r = 0; r < 3; ++r) {
    const std::string to = block(i) + "attn." + "qkv"[r] + "_proj.";
    auto part = [&](TensorBinding& b) {
      b.begin = how == Fused::kByHead ? r * d : begin;
      b.length = how == Fused::kByHead ? d : counts[r] * d;
      b.groups = how == Fused::kByHead ? heads : 1;
    };
    TensorBinding& weight = add(to + "weight", source + ".weight", {rows, c_.d_model});
    if (stored_in_out) std::swap(weight.source_shape[0], weight.source_shape[1]), weight.transpose = true;
    part(weight);
    if (p.get_bool(std::string(1, "qkv"[r]) + "_bias", false)) part(add(to + "bias", source + ".bias", {rows}));
    begin += counts[r] * d;
  }
}

Binder::Conv Binder::conv_of(size_t i) const {
  const LayerConfig& l = c_.layers[i];
  Conv out{};
  for (const TensorBinding& b : bind_mixer_weights(l, c_.d_model, "", ""))
    for (int r = 0; r < 3; ++r)
      if (b.canonical == std::string(1, "qkv"[r]) + "_conv1d.weight") {
        out.channels[r] = b.source_shape[0];
        out.width = b.source_shape[2];
      }
  out.all = out.channels[0] + out.channels[1] + out.channels[2];
  return out;
}

void Binder::fused_conv(size_t i, const std::string& source) {
  const Conv conv = conv_of(i);
  int64_t begin = 0;
  for (int r = 0; r < 3; ++r) {
    TensorBinding& b = add(block(i) + "attn." + "qkv"[r] + "_conv1d.weight", source, {conv.all, 1, conv.width});
    b.begin = begin;
    b.length = conv.channels[r];
    begin += b.length;
  }
}

void Binder::split_conv(size_t i, const std::string& source, const Stored& stored) {
  const Conv conv = conv_of(i);
  auto name = [&](int r) { return source + "qkv"[r] + "_conv1d.weight"; };
  const std::vector<int64_t> first = stored.shape(name(0));
  const int64_t third = (conv.all + 2) / 3;            // the last of the three may be narrower
  const bool thirds = conv.channels[0] != conv.channels[2] && !first.empty() && first[0] == third;
  int64_t from = 0;
  for (int r = 0; r < 3; ++r) {
    const std::string to = block(i) + "attn." + "qkv"[r] + "_conv1d.weight";
    if (!thirds) {
      add(to, name(r), {conv.channels[r], 1, conv.width});
      continue;
    }
    const int64_t end = from + conv.channels[r];
    for (int64_t at = from; at < end;) {
      const int64_t part = at / third, stop = std::min(end, (part + 1) * third);
      const int64_t rows = std::min(third, conv.all - part * third);
      TensorBinding& b = add(to, name(static_cast<int>(part)), {rows, 1, conv.width});
      b.begin = at - part * third;
      b.length = stop - at;
      b.append = at > from;
      at = stop;
    }
    from = end;
  }
}

void Binder::mlp(size_t i, const std::string& source, const std::string& gate, const std::string& up,
                 const std::string& down, bool stored_in_out) {
  const ChannelMixerConfig& m = c_.layers[i].channel;
  const std::string to = block(i) + "mlp.";
  if (m.gated) linear(to + "gate", source + gate, m.d_mlp, c_.d_model, m.bias, stored_in_out);
  linear(to + "up", source + up, m.d_mlp, c_.d_model, m.bias, stored_in_out);
  linear(to + "down", source + down, c_.d_model, m.d_mlp, m.bias, stored_in_out);
}

void Binder::experts(size_t i, const std::string& source, const std::string& router, const std::string& gate,
                     const std::string& up, const std::string& down) {
  const ExpertsConfig& e = c_.layers[i].channel.experts;
  const std::string to = block(i) + "mlp.";
  linear(to + "router", source + router, e.count, c_.d_model, false);
  for (int64_t k = 0; k < e.count; ++k) {
    const std::string one = "experts." + std::to_string(k) + ".";
    linear(to + one + "gate", source + one + gate, e.d_expert, c_.d_model, false);
    linear(to + one + "up", source + one + up, e.d_expert, c_.d_model, false);
    linear(to + one + "down", source + one + down, c_.d_model, e.d_expert, false);
  }
}

void Binder::unembedding(const std::string& source) {
  if (!c_.tied_unembedding) add("unembed.weight", source + ".weight", {c_.vocab_size, c_.d_model});
  if (c_.unembedding_bias) add("unembed.bias", source + ".bias", {c_.vocab_size});
}

}  // namespace microtome::families
