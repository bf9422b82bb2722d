#include "analysis/dictionary_training/kept.h"

#include <ATen/ATen.h>

#include <cmath>

#include "analysis/dictionary_training/fold.h"
#include "analysis/dictionary_training/outcome.h"
#include "core/base/json.h"
#include "core/dictionary/stored.h"

namespace microtome::training {
namespace {

constexpr const char* kName = "plan";
constexpr const char* kWhere = "the stored state of the training";

const NamedArray* named(const std::vector<NamedArray>& arrays, const std::string& name) {
  for (const NamedArray& a : arrays)
    if (a.name == name) return &a;
  return nullptr;
}

Json field(const Json& j, const char* name, bool (Json::*is)() const noexcept) {
  const auto at = j.is_object() ? j.find(name) : j.end();
  if (!j.is_object() || at == j.end() || !((*at).*is)())
    throw Error(StatusCode::kBadInput, std::string("the field '") + name + "' is missing or of another type", kWhere, "start the training again with --again");
  return *at;
}

Plan plan_of(const Json& j, std::vector<double>& factors) {
  Plan plan;
  plan.swept = field(j, "swept", &Json::is_string).get<std::string>();
  plan.steps = field(j, "steps", &Json::is_number_integer).get<int64_t>();
  for (const Json& f : field(j, "factors", &Json::is_array)) factors.push_back(f.is_number() ? f.get<double>() : std::nan(""));
  plan.hooks.resize(factors.size());
  for (const Json& one : field(j, "groups", &Json::is_array)) {
    Group g;
    g.name = field(one, "name", &Json::is_string).get<std::string>();
    const Json swept = one.value("value", Json());
    g.swept = swept.is_number() ? swept.get<double>() : std::nan("");
    for (const Json& m : field(one, "members", &Json::is_array)) {
      Member member;
      member.config = config_from_json(field(m, "config", &Json::is_string).get<std::string>(), kWhere);
      member.in = field(m, "in", &Json::is_number_unsigned).get<size_t>();
      member.out = field(m, "out", &Json::is_number_unsigned).get<size_t>();
      member.later = field(m, "later", &Json::is_number_integer).get<int64_t>();
      if (member.in >= factors.size() || member.out >= factors.size())
        throw Error(StatusCode::kBadInput, "a dictionary reads a point that it does not name", kWhere, "start the training again with --again");
      g.members.push_back(std::move(member));
    }
    plan.groups.push_back(std::move(g));
  }
  return plan;
}

}  // namespace

NamedArray kept_plan(const Plan& plan, const std::vector<double>& factors) {
  Json groups = Json::array();
  for (const Group& g : plan.groups) {
    Json members = Json::array();
    for (const Member& m : g.members) members.push_back({{"config", config_to_json(m.config)}, {"in", m.in}, {"out", m.out}, {"later", m.later}});
    groups.push_back({{"name", g.name}, {"value", std::isfinite(g.swept) ? Json(g.swept) : Json()}, {"members", std::move(members)}});
  }
  const Json j = {{"swept", plan.swept}, {"steps", plan.steps}, {"factors", factors}, {"groups", std::move(groups)}};
  const std::string text = j.dump(-1, ' ', false, Json::error_handler_t::replace);
  NamedArray a;
  a.name = kName;
  a.axes = {"byte"};
  a.shape = {static_cast<int64_t>(text.size())};
  std::vector<int64_t> bytes;
  for (char c : text) bytes.push_back(static_cast<unsigned char>(c));
  a.data = std::move(bytes);
  a.help = "what is trained, as JSON text";
  return a;
}

std::optional<Kept> kept_training(const std::vector<std::vector<NamedArray>>& items, const std::vector<NamedArray>& state, bool dictionaries) {
  const NamedArray* about = named(state, kName);
  const NamedArray* numbers = named(state, "numbers");
  if (!about || !numbers || numbers->size() < 1) return std::nullopt;
  std::string text;
  for (int64_t i = 0; i < about->size(); ++i) text += static_cast<char>(static_cast<unsigned char>(about->at(i)));
  std::vector<double> factors;
  const Plan plan = plan_of(parse_json(text, kWhere).value(), factors);
  Kept out;
  out.step = static_cast<int64_t>(numbers->at(0));
  out.steps = plan.steps;
  // The state's own rows are those of the item at hand.
  std::vector<std::vector<NamedArray>> all = items;
  all.emplace_back();
  for (const char* rows : {"curve", "evaluated"})
    if (const NamedArray* a = named(state, rows)) all.back().push_back(*a);
  if (dictionaries)
    for (size_t g = 0; g < plan.groups.size(); ++g) {
      std::vector<Dictionary> fresh;
      for (const Member& m : plan.groups[g].members) fresh.push_back(Trainer::initial(m.config, at::zeros({m.config.d_out}), 1, 0, m.later, 0));
      Trainer trainer(std::move(fresh), {});
      trainer.set_state(state, "trainer" + std::to_string(g) + ".");
      for (size_t m = 0; m < plan.groups[g].members.size(); ++m) {
        const Member& member = plan.groups[g].members[m];
        for (NamedArray& a : dictionary_artifact(folded(trainer.finished(m), factors[member.in], factors[member.out]), "", "").arrays) {
          a.name = dictionary_prefix(g, m) + a.name;
          all.back().push_back(std::move(a));
        }
      }
    }
  out.result = training_result(plan, all, dictionaries);
  return out;
}

}  // namespace microtome::training
