#include "analysis/engine/metric.h"

#include <ATen/ATen.h>

#include <limits>

#include <algorithm>
#include <array>

namespace microtome::engine {
namespace {

struct Known {
  const char* name;
  const char* unit;
  bool answers, wrong;  // what a prompt must have
};

constexpr std::array<Known, 5> kMetrics = {{{"logit_diff", "logits", true, true},
                                            {"answer_logprob", "nats", true, false},
                                            {"kl", "nats", false, false},
                                            {"greater_than", "probability", true, true},
                                            {"loss", "nats", false, false}}};

const Known& known(const std::string& name) {
  std::string names;
  for (const Known& k : kMetrics) {
    if (name == k.name) return k;
    names += (names.empty() ? "" : ", ") + std::string(k.name);
  }
  throw Error(StatusCode::kBadInput, "metric '" + name + "' is not known", "metric", "use one of " + names);
}

std::string where_of(const AnalysisInput& input, int64_t prompt) {
  int64_t line = input.dataset.pairs[static_cast<size_t>(prompt)].line;
  return input.dataset.name + (line ? ", line " + std::to_string(line) : ", prompt " + std::to_string(prompt + 1));
}

// Lists of ids, one a prompt, as a padded index tensor and a float64 mask.
void pad(const std::vector<const std::vector<int64_t>*>& lists, at::Device device, at::Tensor& ids, at::Tensor& mask) {
  int64_t widest = 1, rows = static_cast<int64_t>(lists.size());
  for (const auto* l : lists) widest = std::max(widest, static_cast<int64_t>(l->size()));
  ids = at::zeros({rows, widest}, at::TensorOptions().dtype(at::kLong));
  mask = at::zeros({rows, widest}, at::TensorOptions().dtype(at::kDouble));
  for (int64_t r = 0; r < rows; ++r) {
    const std::vector<int64_t>& l = *lists[static_cast<size_t>(r)];
    for (size_t i = 0; i < l.size(); ++i) {
      ids.mutable_data_ptr<int64_t>()[r * widest + static_cast<int64_t>(i)] = l[i];
      mask.mutable_data_ptr<double>()[r * widest + static_cast<int64_t>(i)] = 1;
    }
  }
  ids = ids.to(device);
  mask = mask.to(device);
}

at::Tensor tiled(const at::Tensor& t, int64_t rows) {
  int64_t copies = rows / t.size(0);
  return copies == 1 ? t : t.repeat({copies, 1});
}

// A half type is widened before anything is summed over the vocabulary.
at::Tensor widened(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble || x.scalar_type() == at::kFloat ? x : x.to(at::kFloat);
}

}  // namespace

Metric::Metric(const std::string& name, const AnalysisInput& input, const PromptGroup& group) : name_(name) {
  const Known& k = known(name);
  if (!k.answers) return;
  std::vector<const std::vector<int64_t>*> answers, wrong;
  int64_t vocab = input.model.config().vocab_size;
  auto check = [&](const std::vector<int64_t>& ids, bool needed, const char* what, int64_t prompt) {
    if (ids.empty() && needed)
      throw Error(StatusCode::kBadInput, std::string("the prompt has no ") + what + ", which metric " + name + " needs",
                  where_of(input, prompt), "add one or choose another metric");
    for (int64_t id : ids)
      if (id < 0 || id >= vocab)
        throw Error(
            StatusCode::kBadInput,
            std::string(what) + " " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocab),
            where_of(input, prompt));
  };
  for (int64_t p : group.prompts) {
    const PromptPair& pair = input.dataset.pairs.at(static_cast<size_t>(p));
    check(pair.answer_ids, true, "answer", p);
    check(pair.wrong_ids, k.wrong, "wrong answer", p);
    answers.push_back(&pair.answer_ids);
    wrong.push_back(&pair.wrong_ids);
  }
  pad(answers, input.model.device(), answers_, answer_mask_);
  pad(wrong, input.model.device(), wrong_, wrong_mask_);
}

void Metric::set_reference(const at::Tensor& clean_last_logits) {
  reference_logprobs_ = at::log_softmax(clean_last_logits.detach().to(at::kDouble), -1);
}

at::Tensor Metric::last(const at::Tensor& logits) const {
  if (logits.dim() != 2) throw Error(StatusCode::kInternal, "a metric reads logits [rows, vocab]");
  int64_t rows = logits.size(0);
  if (name_ == "kl") {
    if (!reference_logprobs_.defined()) throw Error(StatusCode::kInternal, "metric kl has no reference");
    at::Tensor clean = tiled(reference_logprobs_, rows);
    return (clean.exp() * (clean - at::log_softmax(logits.to(at::kDouble), -1))).sum(-1);
  }
  if (!answers_.defined()) throw Error(StatusCode::kInternal, "metric " + name_ + " is not one of the last position");
  at::Tensor right = tiled(answers_, rows), right_mask = tiled(answer_mask_, rows);
  at::Tensor right_logits = logits.gather(1, right).to(at::kDouble);
  if (name_ == "answer_logprob") {
    // Several right answers: the logarithm of their probability together.
    at::Tensor total = at::logsumexp(widened(logits), {-1}).to(at::kDouble);
    return at::logsumexp(right_logits.masked_fill(right_mask == 0, -1e300), {-1}) - total;
  }
  at::Tensor off = tiled(wrong_, rows), off_mask = tiled(wrong_mask_, rows);
  at::Tensor off_logits = logits.gather(1, off).to(at::kDouble);
  if (name_ == "logit_diff") {
    auto mean = [](const at::Tensor& x, const at::Tensor& mask) { return (x * mask).sum(-1) / mask.sum(-1); };
    return mean(right_logits, right_mask) - mean(off_logits, off_mask);
  }
  at::Tensor total = at::logsumexp(widened(logits), {-1}, true).to(at::kDouble);
  return ((right_logits - total).exp() * right_mask).sum(-1) - ((off_logits - total).exp() * off_mask).sum(-1);
}

at::Tensor Metric::token_losses(const at::Tensor& logits, const at::Tensor& tokens, int64_t first) {
  int64_t count = std::min(logits.size(1), tokens.size(1) - 1 - first);
  if (count <= 0) return at::zeros({logits.size(0), 0}, logits.options().dtype(at::kDouble));
  at::Tensor x = widened(logits.narrow(1, 0, count));
  at::Tensor next = tokens.narrow(1, first + 1, count).to(x.device()).unsqueeze(2);
  return at::logsumexp(x, {-1}).to(at::kDouble) - x.gather(2, next).squeeze(2).to(at::kDouble);
}

std::string Metric::unit(const std::string& name) { return known(name).unit; }

std::string metric_name(const AnalysisInput& input, const std::string& given) {
  if (given != "auto") return known(given).name;
  const TaskInfo* task = find_task(input.dataset.name);
  return task && !task->metric.empty() ? known(task->metric).name : "logit_diff";
}

at::Tensor answered_right(const AnalysisInput& input, const PromptGroup& group, const at::Tensor& logits) {
  const at::Tensor wide = logits.to(at::kCPU, at::kDouble).contiguous();
  at::Tensor out = at::zeros({wide.size(0)}, at::kDouble);
  for (int64_t p = 0; p < wide.size(0); ++p) {
    const PromptPair& pair = input.dataset.pairs[static_cast<size_t>(group.prompts[static_cast<size_t>(p)])];
    const double* row = wide.const_data_ptr<double>() + p * wide.size(1);
    double best = -std::numeric_limits<double>::infinity(), off = best;
    for (int64_t id : pair.answer_ids) best = std::max(best, row[id]);
    for (int64_t id : pair.wrong_ids) off = std::max(off, row[id]);
    for (int64_t id = 0; pair.wrong_ids.empty() && id < wide.size(1); ++id)
      if (std::find(pair.answer_ids.begin(), pair.answer_ids.end(), id) == pair.answer_ids.end()) off = std::max(off, row[id]);
    out.mutable_data_ptr<double>()[p] = best > off ? 1 : 0;
  }
  return out;
}

at::Tensor kl_divergence(const at::Tensor& clean_logits, const at::Tensor& run_logits) {
  at::Tensor clean = at::log_softmax(clean_logits.to(at::kDouble), -1);
  return (clean.exp() * (clean - at::log_softmax(run_logits.to(at::kDouble), -1))).sum(-1);
}

}  // namespace microtome::engine
