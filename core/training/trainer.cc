#include "core/training/trainer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/base/rng.h"
#include "core/dictionary/kinds/parts.h"
#include "core/model/model.h"
#include "core/training/adam.h"
#include "core/training/fused_step.h"
#include "core/training/sparse_loss.h"

namespace microtome {
namespace {

at::Tensor normal(Rng& rng, int64_t rows, int64_t columns) {
  at::Tensor t = at::empty({rows, columns}, at::kFloat);
  float* p = t.mutable_data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i) p[i] = static_cast<float>(rng.normal());
  return t;
}

at::Tensor unit_rows(const at::Tensor& t) { return t / t.norm(2, 1, true).clamp_min(1e-12); }

NamedArray kept(const std::string& name, const at::Tensor& t) {
  NamedArray a;
  a.name = name;
  at::Tensor host = t.detach().to(at::kCPU).contiguous().flatten();
  a.axes = {"value"};
  a.shape = {host.numel()};
  if (host.scalar_type() == at::kLong) a.data = std::vector<int64_t>(host.const_data_ptr<int64_t>(), host.const_data_ptr<int64_t>() + host.numel());
  else {
    host = host.to(at::kFloat);
    a.data = std::vector<float>(host.const_data_ptr<float>(), host.const_data_ptr<float>() + host.numel());
  }
  return a;
}

}  // namespace

struct Trainer::Impl {
  struct Parameter {
    std::string name;                        // "W_enc_t" for the encoder's transpose, else SAELens's
    at::Tensor value, first, second;         // Adam's moments
  };
  struct Member {
    Dictionary d;                            // weights share the parameters' storage
    std::vector<Parameter> parameters;
    at::Tensor silent;                       // [d_sae] int64: tokens since each feature fired
    int64_t most_silent = 0;                 // none is above it
    at::Tensor threshold;                    // scalar: running, of a batch-wise choice
    at::Tensor& value(const char* name) {
      for (Parameter& p : parameters)
        if (p.name == name) return p.value;
      throw Error(StatusCode::kInternal, std::string("no parameter ") + name, "training");
    }
  };
  std::vector<Member> members;
  TrainerSettings settings;
  int64_t steps = 0;
  bool sparse = false;
  std::unique_ptr<FusedStep> fused;          // null: by operations of LibTorch

  const DictionaryKind& kind(const Member& m) const { return dictionary_kinds::builtin().get(m.d.config.kind); }

  static double ramp(int64_t step, int64_t over) { return over <= 0 ? 1 : std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(over)); }
  double rate() const {
    double lr = settings.lr * ramp(steps, settings.warmup);
    if (settings.decay > 0) lr *= std::clamp(static_cast<double>(settings.steps - steps) / static_cast<double>(settings.decay), 0.0, 1.0);
    return lr;
  }
  LossSettings loss_settings(Member& m) {
    LossSettings s = settings.loss;
    const double share = ramp(steps, settings.sparsity_warmup);
    s.l1 *= share;
    s.l0 *= share;
    // Reading the counts would wait for the device, so it is done where one may be dead alone.
    if (m.most_silent >= settings.dead_tokens) m.most_silent = m.silent.max().item<int64_t>();
    if (m.most_silent >= settings.dead_tokens) s.dead = m.silent.ge(settings.dead_tokens);
    return s;
  }

  struct Found {
    at::Tensor loss, mse, l0, norm;
    std::vector<std::vector<at::Tensor>> gradients;   // a list a member, in the order of its parameters
    std::vector<at::Tensor> fired, smallest;
    at::Tensor touched, squares;             // of a fused step: see FusedLoss
  };

  // For gradients that are looked at `step` is false.
  bool fused_found(const at::Tensor& x, const at::Tensor& target, bool step, Found& f) {
    Member& m = members[0];
    FusedOptions o;
    // gradients() gives the gradient itself, before update() looks at what is across the rows.
    o.unit_decoder = step && settings.unit_decoder;
    o.whole = !step;
    if (step) o.silent = m.silent;
    FusedLoss r;
    if (!fused->loss(m.d, m.value("W_enc_t"), x, target, loss_settings(m), o, r)) return false;
    f = {r.loss, r.mse, r.l0, {}, {{}}, {at::Tensor()}, {r.smallest}, r.touched, r.squares};
    for (const Parameter& p : m.parameters) f.gradients[0].push_back(r.gradients.at(p.name));
    return true;
  }

  Found sparse_found(const at::Tensor& x, const at::Tensor& target) {
    Member& m = members[0];
    SparseLoss r = sparse_loss(m.d, m.value("W_enc_t"), x, target, loss_settings(m));
    Found f{r.loss, r.mse, r.l0, {}, {{}}, {r.fired}, {kind(m).batch_wise() ? r.smallest : at::Tensor()}, {}, {}};
    for (const Parameter& p : m.parameters) f.gradients[0].push_back(r.gradients.at(p.name));
    return f;
  }

  Found dense_found(const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& target) {
    at::AutoGradMode on(true);
    std::vector<Dictionary> live;
    std::vector<at::Tensor> leaves;
    for (Member& m : members) {
      Dictionary d;
      d.config = m.d.config;
      for (Parameter& p : m.parameters) {
        at::Tensor leaf = p.value.detach().set_requires_grad(true);
        leaves.push_back(leaf);
        if (p.name == "W_enc_t") d.weights["W_enc"] = leaf.t();
        else d.weights[p.name] = leaf;
      }
      live.push_back(std::move(d));
    }
    Found f;
    std::vector<LossResult> results(members.size());
    if (members.size() == 1) {
      results[0] = kind(members[0]).loss(live[0], x[0], target[0], loss_settings(members[0]));
      f.loss = results[0].loss;
      f.mse = results[0].parts[0].second;
    } else {
      cross_layer(live, x, target, results, f);
    }
    std::vector<at::Tensor> flat = hook_autograd(f.loss, leaves, false);
    size_t next = 0;
    for (size_t i = 0; i < members.size(); ++i) {
      f.gradients.emplace_back();
      for (Parameter& p : members[i].parameters) {
        at::Tensor g = flat[next++];
        f.gradients.back().push_back(g.defined() ? g.contiguous() : at::zeros_like(p.value));
      }
      at::Tensor on_now = results[i].codes.detach().gt(0);
      f.fired.push_back(on_now.any(0));
      at::Tensor l0 = on_now.sum(1).to(at::kFloat).mean();
      f.l0 = f.l0.defined() ? f.l0 + l0 : l0;
      f.smallest.push_back(kind(members[i]).batch_wise() ? results[i].codes.detach().masked_fill(on_now.logical_not(), INFINITY).amin() : at::Tensor());
    }
    f.loss = f.loss.detach();
    f.mse = f.mse.detach();
    return f;
  }

  // Layer m's output is what all features up to it write there (crosscoder form: Ameisen et al. 2025, "Circuit tracing").
  void cross_layer(const std::vector<Dictionary>& live, const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& target,
                   std::vector<LossResult>& results, Found& f) {
    std::vector<at::Tensor> codes;
    std::vector<LossSettings> s;
    for (size_t i = 0; i < live.size(); ++i) {
      s.push_back(loss_settings(members[i]));
      codes.push_back(kind(members[i]).activate(live[i], x[i], s[i], results[i]));
    }
    for (size_t to = 0; to < live.size(); ++to) {
      at::Tensor out = dictionary_kinds::reconstruct(live[to], codes[to], x[to], s[to]);
      for (size_t from = 0; from < to; ++from)
        out = out + dictionary_kinds::product(codes[from], live[from].weight("W_dec_later")[static_cast<int64_t>(to - from - 1)], s[from]);
      results[to].out = out;
      results[to].parts = {{"mse_loss", dictionary_kinds::squared_error(out, target[to])}};
      kind(members[to]).penalise(live[to], x[to], target[to], codes[to], s[to], results[to]);
      at::Tensor loss = dictionary_kinds::total(results[to]), mse = results[to].parts[0].second;
      f.loss = f.loss.defined() ? f.loss + loss : loss;
      f.mse = f.mse.defined() ? f.mse + mse : mse;
    }
  }

  Found find(const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& target, bool step) {
    Found f;
    if (fused && fused_found(x[0], target[0], step, f)) return f;
    return sparse ? sparse_found(x[0], target[0]) : dense_found(x, target);
  }

  // The gradient's part along a row of W_dec would only change its norm, which is held.
  void across_rows(Member& m, std::vector<at::Tensor>& gradients) {
    for (size_t p = 0; p < m.parameters.size(); ++p)
      if (m.parameters[p].name == "W_dec") gradients[p] = gradients[p] - (gradients[p] * m.parameters[p].value).sum(1, true) * m.parameters[p].value;
  }

  void update(Found& f) {
    const bool by_features = f.touched.defined();
    std::vector<AdamParameter> all;
    for (size_t i = 0; i < members.size(); ++i) {
      if (settings.unit_decoder && !by_features) across_rows(members[i], f.gradients[i]);
      for (size_t p = 0; p < members[i].parameters.size(); ++p) {
        Parameter& one = members[i].parameters[p];
        AdamParameter a;
        a.value = one.value;
        a.first = one.first;
        a.second = one.second;
        a.gradient = f.gradients[i][p];
        a.unit = settings.unit_decoder && one.name == "W_dec";
        if (by_features) {
          fused->prepare(one.name, a);
          if (one.name == "W_enc_t" || one.name == "W_dec") a.touched = f.touched;
          if (one.name == "W_enc_t") a.squares = f.squares;
          a.counted = one.name == "W_dec" || one.name == "b_enc";
        }
        all.push_back(std::move(a));
      }
    }
    AdamOptions o;
    o.rate = rate();
    o.beta1 = settings.beta1;
    o.beta2 = settings.beta2;
    o.eps = settings.eps;
    o.clip = settings.clip;
    o.step = steps + 1;
    f.norm = adam_step(all, o);
    if (fused && !by_features) fused->stale();
    // A threshold below 0 would open features that a ReLU closes.
    for (Member& m : members)
      if (m.d.has("threshold")) m.value("threshold").clamp_min_(0);
  }

  // Dead features start anew at tokens drawn by the square of their error (Bricken et al. 2023, "Towards Monosemanticity").
  void resample(const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& target) {
    for (size_t i = 0; i < members.size(); ++i) {
      Member& m = members[i];
      at::Tensor dead = m.silent.ge(settings.dead_tokens).nonzero().flatten();
      if (dead.numel() == 0 || dead.numel() == m.d.config.d_sae) continue;
      at::Tensor centred = dictionary_kinds::centred(m.d, x[i]);
      at::Tensor error = target[i] - dictionary_kinds::reconstruct(m.d, kind(m).encode(m.d, centred, nullptr), x[i], settings.loss);
      std::vector<double> weight;
      at::Tensor square = error.square().sum(1).square().to(at::kCPU, at::kDouble).contiguous();
      double sum = 0;
      for (int64_t t = 0; t < square.numel(); ++t) weight.push_back(sum += square.const_data_ptr<double>()[t]);
      Rng rng(item_seed(settings.seed, static_cast<uint64_t>(steps) * 64 + i));
      std::vector<int64_t> rows;
      for (int64_t k = 0; k < dead.numel(); ++k)
        rows.push_back(std::min<int64_t>(std::upper_bound(weight.begin(), weight.end(), rng.uniform() * sum) - weight.begin(), square.numel() - 1));
      at::Tensor row = at::tensor(rows, at::kLong).to(dead.device());
      at::Tensor& encoder = m.value("W_enc_t");
      at::Tensor& decoder = m.value("W_dec");
      at::Tensor alive = m.silent.lt(settings.dead_tokens).nonzero().flatten();
      at::Tensor size = encoder.index_select(0, alive).norm(2, 1).mean() * 0.2, out_size = decoder.index_select(0, alive).norm(2, 1).mean();
      encoder.index_copy_(0, dead, unit_rows(centred.index_select(0, row)) * size);
      decoder.index_copy_(0, dead, unit_rows(error.index_select(0, row)) * out_size);
      for (Parameter& p : m.parameters) {
        const bool a_feature = p.value.size(0) == m.d.config.d_sae && p.name != "b_dec" && p.name != "W_skip";
        if (!a_feature) continue;
        p.first.index_fill_(0, dead, 0);
        p.second.index_fill_(0, dead, 0);
        if (p.name == "b_enc" || p.name == "b_gate" || p.name == "b_mag" || p.name == "r_mag") p.value.index_fill_(0, dead, 0);
      }
      m.silent.index_fill_(0, dead, 0);
    }
    if (fused) fused->stale();
  }
};

Trainer::Trainer(std::vector<Dictionary> given, TrainerSettings settings) : impl_(std::make_unique<Impl>()) {
  Impl& t = *impl_;
  t.settings = std::move(settings);
  for (Dictionary& d : given) {
    Impl::Member m;
    m.d.config = d.config;
    for (auto& [name, w] : d.weights) {
      const bool encoder = name == "W_enc";
      at::Tensor value = (encoder ? w.t() : w).to(at::kFloat).clone(at::MemoryFormat::Contiguous);
      m.d.weights[name] = encoder ? value.t() : value;
      m.parameters.push_back({encoder ? "W_enc_t" : name, value, at::zeros_like(value), at::zeros_like(value)});
    }
    m.silent = at::zeros({d.config.d_sae}, d.weight("W_dec").options().dtype(at::kLong));
    m.threshold = at::zeros({}, d.weight("W_dec").options());
    t.members.push_back(std::move(m));
  }
  const bool can = t.members.size() == 1 && has_sparse_loss(t.members[0].d.config);
  if (t.settings.form == TrainerSettings::Form::kSparse && !can)
    throw Error(StatusCode::kUnsupported, "kind " + t.members[0].d.config.kind + " has no sparse form", "param form", "use auto or dense");
  t.sparse = can && t.settings.form != TrainerSettings::Form::kDense;
  if (t.sparse) t.fused = FusedStep::make(t.members[0].d, t.settings.loss.products);
}

Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;

Dictionary Trainer::initial(const DictionaryConfig& c, const at::Tensor& mean_target, double decoder_norm, double threshold, int64_t later, uint64_t seed) {
  Rng rng(item_seed(seed, 0x1d1c));
  Dictionary d;
  d.config = c;
  const at::TensorOptions like = mean_target.options().dtype(at::kFloat);
  at::Tensor decoder = unit_rows(normal(rng, c.d_sae, c.d_out)) * decoder_norm;
  // An autoencoder's feature is read where it is written; a transcoder's two directions have nothing in common.
  at::Tensor encoder = c.transcoder ? unit_rows(normal(rng, c.d_sae, c.d_in)) * decoder_norm : decoder;
  d.weights["W_dec"] = decoder.to(like.device()).clone();
  d.weights["W_enc"] = encoder.t().to(like.device()).clone();
  d.weights["b_dec"] = mean_target.to(at::kFloat).clone();
  for (const auto& [name, shape] : dictionary_kinds::builtin().get(c.kind).own_weights(c)) d.weights[name] = at::full(shape, name == "threshold" ? threshold : 0.0, like);
  if (c.skip) d.weights["W_skip"] = at::zeros({c.d_out, c.d_in}, like);
  if (later > 0) d.weights["W_dec_later"] = at::zeros({later, c.d_sae, c.d_out}, like);
  return d;
}

StepReport Trainer::step(const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& target) {
  at::NoGradGuard no_grad;
  Impl& t = *impl_;
  Impl::Found f = t.find(x, target, true);
  t.update(f);
  const int64_t n = x.at(0).size(0);
  for (size_t i = 0; i < t.members.size(); ++i) {
    Impl::Member& m = t.members[i];
    if (f.fired[i].defined()) m.silent = at::where(f.fired[i], at::zeros_like(m.silent), m.silent + n);
    m.most_silent += n;
    if (f.smallest[i].defined()) {
      at::Tensor moved = t.steps == 0 ? f.smallest[i] : m.threshold + t.settings.threshold_lr * (f.smallest[i] - m.threshold);
      m.threshold = at::where(at::isfinite(f.smallest[i]), moved, m.threshold).to(at::kFloat);
    }
  }
  ++t.steps;
  if (t.settings.resample_every > 0 && t.steps % t.settings.resample_every == 0 && t.steps < t.settings.steps) t.resample(x, target);
  return {f.loss, f.mse, f.l0, f.norm};
}

int64_t Trainer::steps_done() const { return impl_->steps; }
bool Trainer::sparse() const { return impl_->sparse; }
size_t Trainer::members() const { return impl_->members.size(); }
int64_t Trainer::dead(size_t member) const { return impl_->members.at(member).silent.ge(impl_->settings.dead_tokens).sum().item<int64_t>(); }

Dictionary Trainer::trained(size_t member) const {
  Dictionary d;
  d.config = impl_->members.at(member).d.config;
  for (const auto& [name, w] : impl_->members[member].d.weights) d.weights[name] = w.detach().clone(at::MemoryFormat::Contiguous);
  return d;
}

Dictionary Trainer::finished(size_t member) const {
  return impl_->kind(impl_->members.at(member)).inference_form(trained(member), impl_->members[member].threshold.item<double>());
}

std::vector<NamedArray> Trainer::state(const std::string& prefix) const {
  std::vector<NamedArray> out;
  out.push_back(kept(prefix + "steps", at::tensor({impl_->steps}, at::kLong)));
  for (size_t i = 0; i < impl_->members.size(); ++i) {
    const Impl::Member& m = impl_->members[i];
    const std::string name = prefix + std::to_string(i) + ".";
    out.push_back(kept(name + "silent", m.silent));
    out.push_back(kept(name + "running_threshold", m.threshold));
    for (const Impl::Parameter& p : m.parameters) {
      out.push_back(kept(name + p.name, p.value));
      out.push_back(kept(name + p.name + ".first", p.first));
      out.push_back(kept(name + p.name + ".second", p.second));
    }
  }
  return out;
}

void Trainer::set_state(const std::vector<NamedArray>& arrays, const std::string& prefix) {
  auto load = [&](const std::string& name, const at::Tensor& into) {
    for (const NamedArray& a : arrays)
      if (a.name == prefix + name && a.size() == into.numel()) {
        at::Tensor from = std::visit([&](const auto& v) {
          using T = std::decay_t<decltype(v[0])>;
          return at::from_blob(const_cast<T*>(v.data()), {a.size()}, c10::CppTypeToScalarType<T>::value).clone();
        }, a.data);
        into.copy_(from.view(into.sizes()));
        return;
      }
    throw Error(StatusCode::kBadInput, "the stored state of this training does not fit it ('" + name + "')", "training", "start it again with --again");
  };
  at::NoGradGuard no_grad;
  at::Tensor steps = at::zeros({1}, at::kLong);
  load("steps", steps);
  impl_->steps = steps.item<int64_t>();
  for (size_t i = 0; i < impl_->members.size(); ++i) {
    Impl::Member& m = impl_->members[i];
    const std::string name = std::to_string(i) + ".";
    load(name + "silent", m.silent);
    m.most_silent = m.silent.numel() ? m.silent.max().item<int64_t>() : 0;
    load(name + "running_threshold", m.threshold);
    for (Impl::Parameter& p : m.parameters) {
      load(name + p.name, p.value);
      load(name + p.name + ".first", p.first);
      load(name + p.name + ".second", p.second);
    }
  }
  if (impl_->fused) impl_->fused->stale();
}

std::vector<std::pair<std::string, at::Tensor>> Trainer::gradients(const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& target, at::Tensor* loss) {
  at::NoGradGuard no_grad;
  Impl::Found f = impl_->find(x, target, false);
  if (loss) *loss = f.loss;
  std::vector<std::pair<std::string, at::Tensor>> out;
  for (size_t i = 0; i < impl_->members.size(); ++i)
    for (size_t p = 0; p < impl_->members[i].parameters.size(); ++p) {
      const std::string& name = impl_->members[i].parameters[p].name;
      out.emplace_back(name == "W_enc_t" ? "W_enc" : name, name == "W_enc_t" ? f.gradients[i][p].t() : f.gradients[i][p]);
    }
  return out;
}

}  // namespace microtome
