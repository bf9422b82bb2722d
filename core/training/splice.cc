#include <ATen/ATen.h>

#include <algorithm>

#include "core/model/model.h"
#include "core/training/dictionary_metrics.h"

namespace microtome {
namespace {

// What the edits of one plan share: members in the run's own type, what they read and their codes.
struct Spliced {
  std::shared_ptr<const DictionarySet> set;
  SpliceOptions options;
  std::vector<Dictionary> members;                     // converted at their first use
  std::vector<at::Tensor> read, codes;                 // [n, d_in], [n, d_sae] of the tokens that ran last
  bool later = false;                                  // cross-layer

  const Dictionary& member(size_t i, const at::Tensor& like) {
    Dictionary& d = members[i];
    at::ScalarType type = like.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    if (d.weights.empty() || d.device() != like.device() || d.weight("W_dec").scalar_type() != type) d = set->members[i].to(like.device(), type);
    return d;
  }
};

struct Rows {
  int64_t from = 0, count = 0;                         // of the axis pos
  at::Tensor flat;                                     // [batch · count, width]
};

Rows rows_of(const at::Tensor& value, int64_t first_pos, int64_t from) {
  Rows r;
  r.from = std::clamp<int64_t>(from - first_pos, 0, value.size(1));
  r.count = value.size(1) - r.from;
  at::Tensor part = r.from == 0 ? value : value.narrow(1, r.from, r.count);
  int64_t width = 1;
  for (int64_t a = 2; a < value.dim(); ++a) width *= value.size(a);
  r.flat = part.reshape({value.size(0) * r.count, width});
  if (r.flat.scalar_type() != at::kDouble) r.flat = r.flat.to(at::kFloat);
  return r;
}

at::Tensor with_rows(const at::Tensor& value, const Rows& r, const at::Tensor& flat) {
  std::vector<int64_t> shape = value.sizes().vec();
  shape[1] = r.count;
  at::Tensor part = flat.reshape(shape).to(value.scalar_type());
  return r.from == 0 ? part : at::cat({value.narrow(1, 0, r.from), part}, 1);
}

void require_width(int64_t have, int64_t want, const Dictionary& d, const std::string& hook, const char* verb) {
  if (have == want) return;
  throw Error(StatusCode::kBadInput, "the dictionary " + std::string(verb) + " " + std::to_string(want) + " numbers a token and " + hook + " has " +
              std::to_string(have), d.config.name.empty() ? hook : d.config.name, "use it with the model and point it was trained on");
}

SpliceOptions::Place place(size_t member, const at::Tensor& value, const Rows& r, int64_t first_pos) {
  return {member, value.size(0), first_pos + r.from, r.count};
}

// Reads a member's input and makes its codes.
void encode(Spliced& s, size_t i, const at::Tensor& value, const Rows& r, int64_t first_pos) {
  const Dictionary& d = s.member(i, value);
  require_width(r.flat.size(1), d.config.d_in, d, d.config.hook_in, "reads");
  s.read[i] = r.flat;
  s.codes[i] = d.encode(r.flat);
  if (s.options.change) s.codes[i] = s.options.change(s.codes[i], place(i, value, r, first_pos));
}

// What all members write at member i's hook_out.
at::Tensor output(Spliced& s, size_t i, const at::Tensor& value, bool changed) {
  auto codes = [&](size_t k) { return changed ? s.codes[k] : s.member(k, value).encode(s.read[k]); };
  auto ready = [&](size_t k) {
    if (!s.codes[k].defined())
      throw Error(StatusCode::kInternal, "a dictionary's output is asked for before its input was read", s.set->members[k].config.hook_in);
  };
  ready(i);
  at::Tensor out = s.member(i, value).decode(codes(i), s.read[i]);
  if (!s.later) return out;
  for (size_t k = 0; k < i; ++k) {
    const Dictionary& d = s.member(k, value);
    int64_t step = s.set->layers[i] - s.set->layers[k] - 1;
    if (!d.has("W_dec_later") || step < 0 || step >= d.weight("W_dec_later").size(0)) continue;
    ready(k);
    out = out + at::matmul(codes(k), d.weight("W_dec_later").select(0, step));
  }
  return out;
}

}  // namespace

void splice(HookPlan& plan, std::shared_ptr<const DictionarySet> set, const SpliceOptions& options, const std::vector<size_t>& chosen) {
  auto s = std::make_shared<Spliced>();
  s->set = set;
  s->options = options;
  s->later = set->cross_layer();
  s->members.resize(set->members.size());
  s->read.resize(set->members.size());
  s->codes.resize(set->members.size());
  std::vector<bool> writes(set->members.size(), chosen.empty());
  for (size_t i : chosen) writes.at(i) = true;
  size_t last = 0;
  for (size_t i = 0; i < writes.size(); ++i)
    if (writes[i]) last = i;
  for (size_t i = 0; i < writes.size(); ++i) {
    const DictionaryConfig& c = set->members[i].config;
    if (s->later && (c.normalize != "none" || c.rescale_acts_by_decoder_norm))
      throw Error(StatusCode::kUnsupported, "a cross-layer dictionary with normalised inputs or rescaled codes is not spliced in", c.name,
                  "store it without: the scale can be folded into its weights");
    bool reads = writes[i] || (s->later && i < last);
    bool same = c.hook_in == c.hook_out;
    if (reads && !same)
      plan.edit(c.hook_in, [s, i](const at::Tensor& value, int64_t first_pos) {
        Rows r = rows_of(value, first_pos, s->options.from);
        if (r.count > 0) encode(*s, i, value, r, first_pos);
        return value;
      });
    if (!writes[i]) continue;
    plan.edit(c.hook_out, [s, i, same](const at::Tensor& value, int64_t first_pos) {
      Rows r = rows_of(value, first_pos, s->options.from);
      if (r.count == 0) return value;
      if (same) encode(*s, i, value, r, first_pos);
      const Dictionary& d = s->member(i, value);
      require_width(r.flat.size(1), d.config.d_out, d, d.config.hook_out, "gives");
      at::Tensor out = output(*s, i, value, true);
      if (s->options.watch) s->options.watch(place(i, value, r, first_pos), r.flat, out, s->codes[i]);
      if (s->options.watch_only) return value;
      if (s->options.keep_error) out = out + (r.flat - (s->options.change ? output(*s, i, value, false) : out));
      return with_rows(value, r, out);
    });
  }
}

void splice(HookPlan& plan, std::shared_ptr<const Dictionary> d, bool keep_error) {
  auto set = std::make_shared<DictionarySet>();
  set->members = {*d};
  set->layers = {layer_of_hook(d->config.hook_in)};
  SpliceOptions options;
  options.keep_error = keep_error;
  splice(plan, std::shared_ptr<const DictionarySet>(set), options);
}

void ablate_point(HookPlan& plan, const std::string& hook, const at::Tensor& given, int64_t from) {
  plan.edit(hook, [given, from, hook](const at::Tensor& value, int64_t first_pos) {
    Rows r = rows_of(value, first_pos, from);
    if (r.count == 0) return value;
    if (!given.defined()) return with_rows(value, r, at::zeros_like(r.flat));
    if (given.numel() != r.flat.size(1))
      throw Error(StatusCode::kInternal, "a value of " + std::to_string(given.numel()) + " numbers for a point of " + std::to_string(r.flat.size(1)), hook);
    return with_rows(value, r, given.to(r.flat.device(), r.flat.scalar_type()).reshape({1, -1}).expand_as(r.flat));
  });
}

int64_t point_width(const Model& model, const std::string& hook) {
  std::vector<std::string> names = model.catalogue().match(hook);
  const HookPoint* p = model.catalogue().find(names.front());
  bool fits = names.size() == 1 && p->axes.size() >= 3 && p->axes[0] == "batch" && p->axes[1] == "pos";
  int64_t width = 1;
  for (size_t a = 2; fits && a < p->axes.size(); ++a) {
    fits = p->sizes[a] > 0;
    width *= p->sizes[a];
  }
  if (!fits)
    throw Error(StatusCode::kBadInput, "'" + hook.substr(0, 200) + "' does not hold one vector a position", "hook point",
                "choose a residual, a sub-layer's input or output, a head's q, k, v or z, or a state");
  return width;
}

void check_points(const DictionarySet& set, const Model& model) {
  for (const Dictionary& d : set.members) {
    for (const auto& [hook, verb] : {std::pair{d.config.hook_in, "reads"}, {d.config.hook_out, "gives"}}) {
      if (hook.empty())
        throw Error(StatusCode::kBadInput, "the dictionary does not say which point it " + std::string(verb), d.config.name, "name it: hook=, and hook_out= of a transcoder");
      require_width(point_width(model, hook), *verb == 'r' ? d.config.d_in : d.config.d_out, d, hook, verb);
    }
    if (!d.config.transcoder && d.config.hook_in != d.config.hook_out)
      throw Error(StatusCode::kBadInput, "an SAE reads " + d.config.hook_in + " and gives " + d.config.hook_out, d.config.name, "both must be one point");
  }
}

}  // namespace microtome
