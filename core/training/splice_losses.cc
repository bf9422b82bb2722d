#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "core/model/model.h"
#include "core/training/dictionary_metrics.h"

namespace microtome {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

at::Tensor widened(const at::Tensor& t) { return t.scalar_type() == at::kDouble ? t : t.to(at::kFloat); }

// Sums a row of cross entropies of positions that have a next token, and of KL from `from` on; float64 on the CPU.
struct RowSums {
  at::Tensor ce, kl;
};

RowSums row_sums(const at::Tensor& tokens, const at::Tensor& logits, const at::Tensor& clean_logprobs, int64_t from) {
  at::Tensor logprobs = at::log_softmax(widened(logits), -1);
  int64_t n = tokens.size(1);
  RowSums out;
  at::Tensor next = tokens.narrow(1, 1, n - 1).to(logits.device()).unsqueeze(2);
  out.ce = -logprobs.narrow(1, 0, n - 1).gather(2, next).squeeze(2).sum(at::IntArrayRef{1}, false, at::kDouble).to(at::kCPU);
  if (!clean_logprobs.defined()) return out;
  int64_t start = std::min(from, n);
  at::Tensor p = clean_logprobs.narrow(1, start, n - start), q = logprobs.narrow(1, start, n - start);
  out.kl = (p.exp() * (p - q)).sum(at::IntArrayRef{1, 2}, false, at::kDouble).to(at::kCPU);
  return out;
}

// Mean over rows weighted by their tokens.
double mean_of(const at::Tensor& rows, const at::Tensor& tokens) {
  if (!rows.defined()) return kNaN;
  double n = tokens.sum().item<double>();
  return n == 0 ? kNaN : at::where(tokens > 0, rows * tokens, at::zeros_like(rows)).sum().item<double>() / n;
}

double recovered(double reference, double spliced, double clean) {
  return reference == clean ? kNaN : (reference - spliced) / (reference - clean);
}

}  // namespace

CrossEntropy LossRows::total() const {
  CrossEntropy t;
  t.tokens = ce_tokens.sum().item<int64_t>();
  t.clean = mean_of(clean.ce, ce_tokens);
  t.spliced = mean_of(spliced.ce, ce_tokens);
  t.zero = mean_of(zero.ce, ce_tokens);
  t.mean = mean_of(mean.ce, ce_tokens);
  t.kl_spliced = mean_of(spliced.kl, kl_tokens);
  t.kl_zero = mean_of(zero.kl, kl_tokens);
  t.kl_mean = mean_of(mean.kl, kl_tokens);
  t.recovered = recovered(t.zero, t.spliced, t.clean);
  t.recovered_mean = recovered(t.mean, t.spliced, t.clean);
  t.kl_recovered = recovered(t.kl_zero, t.kl_spliced, 0);
  t.kl_recovered_mean = recovered(t.kl_mean, t.kl_spliced, 0);
  return t;
}

LossRows splice_losses(const Model& model, std::shared_ptr<const DictionarySet> set, const std::vector<at::Tensor>& batches,
                       const LossOptions& o, Progress& progress) {
  if (batches.empty()) throw Error(StatusCode::kBadInput, "there is no text to judge the dictionary on", "dictionary metrics", "give a corpus or prompts");
  check_points(*set, model);
  std::set<std::string> hooks;
  for (size_t i = 0; i < set->members.size(); ++i)
    if (o.members.empty() || std::find(o.members.begin(), o.members.end(), i) != o.members.end()) hooks.insert(set->members[i].config.hook_out);
  int64_t done = 0, steps = static_cast<int64_t>(batches.size()) * (o.means && o.given_means.empty() ? 2 : 1);

  // The mean at each point over all tokens from `from` on.
  std::map<std::string, at::Tensor> means = o.given_means;
  std::map<std::string, int64_t> counts;
  if (o.means && means.empty()) {
    for (const at::Tensor& tokens : batches) {
      progress.step(done++, steps, "finding the mean activations");
      HookPlan plan;
      plan.form = o.form;
      plan.logits = false;
      for (const std::string& hook : hooks)
        plan.edit(hook, [&, hook](const at::Tensor& value, int64_t first) {
          int64_t skip = std::clamp<int64_t>(o.from - first, 0, value.size(1)), count = value.size(1) - skip;
          if (count == 0) return value;
          at::Tensor sum = value.detach().narrow(1, skip, count).flatten(2).sum(at::IntArrayRef{0, 1}, false, at::kDouble);
          at::Tensor& m = means[hook];
          m = m.defined() ? m + sum : sum;
          counts[hook] += value.size(0) * count;
          return value;
        });
      model.forward(tokens, plan);
    }
    for (auto& [hook, sum] : means) sum = sum / static_cast<double>(std::max<int64_t>(1, counts[hook]));
  }

  std::vector<at::Tensor> ce[4], kl[4], ce_tokens, kl_tokens;
  for (const at::Tensor& tokens : batches) {
    progress.step(done++, steps, "running the text with the dictionary in place");
    int64_t rows = tokens.size(0), n = tokens.size(1);
    at::Tensor clean;
    for (int variant = 0; variant < (o.means ? 4 : 3); ++variant) {
      HookPlan plan;
      plan.form = o.form;
      if (variant == 1) {
        SpliceOptions options;
        options.from = o.from;
        splice(plan, set, options, o.members);
      }
      if (variant >= 2)
        for (const std::string& hook : hooks) {
          auto m = means.find(hook);
          ablate_point(plan, hook, variant == 3 && m != means.end() ? m->second : at::Tensor(), o.from);
        }
      at::Tensor logits = model.forward(tokens, plan).logits;
      if (variant == 0) clean = at::log_softmax(widened(logits), -1);
      RowSums sums = row_sums(tokens, logits, variant == 0 ? at::Tensor() : clean, o.from);
      ce[variant].push_back(n > 1 ? sums.ce / static_cast<double>(n - 1) : at::full({rows}, kNaN, at::kDouble));
      int64_t judged = std::max<int64_t>(0, n - o.from);
      if (variant > 0) kl[variant].push_back(judged > 0 ? sums.kl / static_cast<double>(judged) : at::full({rows}, kNaN, at::kDouble));
    }
    ce_tokens.push_back(at::full({rows}, n - 1, at::kLong));
    kl_tokens.push_back(at::full({rows}, std::max<int64_t>(0, n - o.from), at::kLong));
  }
  LossRows out;
  out.clean = {at::cat(ce[0]), {}};
  out.spliced = {at::cat(ce[1]), at::cat(kl[1])};
  out.zero = {at::cat(ce[2]), at::cat(kl[2])};
  if (o.means) out.mean = {at::cat(ce[3]), at::cat(kl[3])};
  out.ce_tokens = at::cat(ce_tokens);
  out.kl_tokens = at::cat(kl_tokens);
  return out;
}

CrossEntropy cross_entropy_recovered(const Model& model, const Dictionary& d, const std::vector<at::Tensor>& batches, Progress& progress) {
  auto set = std::make_shared<DictionarySet>();
  set->members = {d};
  set->layers = {layer_of_hook(d.config.hook_in)};
  return splice_losses(model, set, batches, {}, progress).total();
}

}  // namespace microtome
