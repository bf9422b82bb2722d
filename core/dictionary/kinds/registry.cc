#include "core/dictionary/kinds/registry.h"

#include "core/base/quote.h"
#include "core/dictionary/kinds/parts.h"

namespace microtome {

LossResult DictionaryKind::loss(const Dictionary& d, const at::Tensor& x, const at::Tensor& target, const LossSettings& s) const {
  LossResult r;
  at::Tensor codes = activate(d, x, s, r);
  r.out = dictionary_kinds::reconstruct(d, codes, x, s);
  r.parts = {{"mse_loss", dictionary_kinds::squared_error(r.out, target)}};
  penalise(d, x, target, codes, s, r);
  r.loss = dictionary_kinds::total(r);
  return r;
}

namespace dictionary_kinds {

void Registry::add(std::unique_ptr<DictionaryKind> kind) {
  std::string name = kind->name();
  if (!kinds_.emplace(name, std::move(kind)).second) throw Error(StatusCode::kInternal, "two kinds of dictionary are named " + in_quotes(name));
}

const DictionaryKind& Registry::get(const std::string& name) const {
  auto it = kinds_.find(name);
  if (it == kinds_.end()) throw Error(StatusCode::kBadInput, "there is no kind of dictionary " + in_quotes(name.substr(0, 60)), "dictionary", "kinds are " + names());
  return *it->second;
}

std::string Registry::names() const {
  std::string out;
  for (const auto& [name, kind] : kinds_) out += (out.empty() ? "" : ", ") + name;
  return out;
}

const Registry& builtin() {
  static const Registry all = [] {
    Registry r;
    register_all(r);
    return r;
  }();
  return all;
}

}  // namespace dictionary_kinds

}  // namespace microtome
