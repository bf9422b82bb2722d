#include "core/training/activations.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "core/base/memory.h"
#include "core/base/rng.h"
#include "core/model/model.h"
#include "core/training/activation_cache_files.h"

namespace microtome {

std::vector<at::Tensor> run_points(const Model& model, const std::vector<std::vector<int64_t>>& sequences,
                                   const std::vector<std::string>& hooks, int64_t from, MixerForm form) {
  const int64_t n = static_cast<int64_t>(sequences.size()), length = static_cast<int64_t>(sequences.at(0).size());
  at::Tensor ids = at::empty({n, length}, at::kLong);
  for (int64_t i = 0; i < n; ++i) std::copy(sequences[static_cast<size_t>(i)].begin(), sequences[static_cast<size_t>(i)].end(), ids.mutable_data_ptr<int64_t>() + i * length);
  HookPlan plan;
  plan.form = form;
  plan.logits = false;
  for (const std::string& h : hooks) plan.capture(h);
  ForwardResult run = model.forward(ids.to(model.device()), plan);
  std::vector<at::Tensor> out;
  for (const std::string& h : hooks) out.push_back(run.cache.get(h).slice(1, std::min(from, length)).flatten(2).flatten(0, 1).to(at::kFloat));
  return out;
}

struct ActivationBlocks::Cache : ActivationShards {
  using ActivationShards::ActivationShards;
};

ActivationBlocks::ActivationBlocks(const Model& model, const Corpus& corpus, ActivationOptions options) : model_(model), corpus_(corpus), options_(std::move(options)), at_once_(options_.batch_tokens) {
  order_.resize(corpus.sequences.size());
  std::iota(order_.begin(), order_.end(), 0);
  Rng rng(item_seed(options_.seed, 0x5e9));
  rng.shuffle(order_);
  const int64_t trained = static_cast<int64_t>(order_.size()) - options_.held_out;
  int64_t rows = 0;
  for (int64_t i = 0; i < trained; ++i) {
    if (first_.empty()) first_.push_back(0);
    rows += std::max<int64_t>(0, static_cast<int64_t>(corpus.sequences[static_cast<size_t>(order_[static_cast<size_t>(i)])].size()) - options_.from);
    if (rows >= options_.block_tokens) {
      first_.push_back(i + 1);
      rows = 0;
    }
  }
  // What is left joins the last block: a small one would be shuffled among few.
  if (rows > 0) {
    if (first_.size() > 1) first_.back() = trained;
    else first_.push_back(trained);
  }
  if (first_.size() < 2)
    throw Error(StatusCode::kBadInput, "the corpus has no tokens to train on beside the " + std::to_string(options_.held_out) + " sequences that are held out", corpus.name,
                "give a longer corpus");
  if (!options_.cache.empty()) cache_ = std::make_unique<Cache>(options_.cache, options_.key, options_.hooks, blocks());
}

ActivationBlocks::~ActivationBlocks() {
  if (coming_.valid()) coming_.wait();
}

int64_t ActivationBlocks::rows(int64_t b) const {
  int64_t n = 0;
  for (int64_t i = first_[static_cast<size_t>(b)]; i < first_[static_cast<size_t>(b) + 1]; ++i)
    n += std::max<int64_t>(0, static_cast<int64_t>(corpus_.sequences[static_cast<size_t>(order_[static_cast<size_t>(i)])].size()) - options_.from);
  return n;
}

int64_t ActivationBlocks::rows_of_all() const {
  int64_t n = 0;
  for (int64_t b = 0; b < blocks(); ++b) n += rows(b);
  return n;
}

std::vector<std::vector<int64_t>> ActivationBlocks::held_out() const {
  std::vector<std::vector<int64_t>> out;
  for (size_t i = order_.size() - static_cast<size_t>(options_.held_out); i < order_.size(); ++i) out.push_back(corpus_.sequences[static_cast<size_t>(order_[i])]);
  return out;
}

std::vector<at::Tensor> ActivationBlocks::make(int64_t b) const {
  if (cache_)
    if (auto kept = cache_->read(b)) {
      for (at::Tensor& t : *kept) t = t.to(model_.device());
      return *kept;
    }
  // Sequences of one length run together; the order of rows does not matter, they are shuffled.
  std::vector<std::vector<int64_t>> sequences;
  for (int64_t i = first_[static_cast<size_t>(b)]; i < first_[static_cast<size_t>(b) + 1]; ++i) sequences.push_back(corpus_.sequences[static_cast<size_t>(order_[static_cast<size_t>(i)])]);
  std::stable_sort(sequences.begin(), sequences.end(), [](const auto& a, const auto& c) { return a.size() < c.size(); });
  std::vector<std::vector<at::Tensor>> parts(options_.hooks.size());
  for (size_t i = 0; i < sequences.size();) {
    const size_t length = sequences[i].size(), most = std::max<size_t>(1, static_cast<size_t>(at_once_.load()) / length);
    size_t end = i;
    while (end < sequences.size() && end - i < most && sequences[end].size() == length) ++end;
    std::vector<at::Tensor> values;
    try {
      values = run_points(model_, {sequences.begin() + static_cast<std::ptrdiff_t>(i), sequences.begin() + static_cast<std::ptrdiff_t>(end)}, options_.hooks, options_.from, options_.form);
    } catch (const std::exception& e) {
      if (!out_of_memory(e) || end - i == 1) throw;
      at_once_ = static_cast<int64_t>((end - i) / 2 * length);
      continue;
    }
    for (size_t h = 0; h < values.size(); ++h) parts[h].push_back(values[h]);
    i = end;
  }
  std::vector<at::Tensor> out;
  for (auto& p : parts) out.push_back(at::cat(p));
  if (cache_) cache_->write(b, out);
  return out;
}

std::vector<at::Tensor> ActivationBlocks::shuffled(int64_t n) const {
  at::NoGradGuard no_grad;                             // the guard belongs to a thread
  std::vector<at::Tensor> values = make(n % blocks());
  std::vector<int64_t> places(static_cast<size_t>(values.at(0).size(0)));
  std::iota(places.begin(), places.end(), 0);
  Rng rng(item_seed(options_.seed, static_cast<uint64_t>(n) + 0x10000));
  rng.shuffle(places);
  at::Tensor index = at::tensor(places, at::kLong).to(values[0].device());
  for (at::Tensor& v : values) v = v.index_select(0, index);
  return values;
}

const std::vector<at::Tensor>& ActivationBlocks::block(int64_t n) {
  if (n == here_) return current_;
  current_.clear();
  if (coming_.valid() && next_ == n) {
    here_ = -1;
    current_ = coming_.get();
  } else {
    if (coming_.valid()) coming_.wait();
    coming_ = {};
    here_ = -1;
    current_ = shuffled(n);
  }
  here_ = n;
  next_ = n + 1;
  coming_ = std::async(std::launch::async, [this, n] { return shuffled(n + 1); });
  return current_;
}

std::string ActivationBlocks::problem() const { return cache_ ? cache_->problem() : std::string(); }

}  // namespace microtome
