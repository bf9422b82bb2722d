// A model run for a plug-in: its request checked and made a plan, the tensors handed out in DLPack's layout.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/dlpack.h>

#include <algorithm>

#include "core/base/json.h"
#include "core/hooks/intervention_json.h"
#include "plugins/host/run_state.h"

namespace microtome::plugins {
namespace {

static_assert(sizeof(microtome_tensor) == sizeof(DLTensor) &&
                  offsetof(microtome_tensor, device) == offsetof(DLTensor, device) &&
                  offsetof(microtome_tensor, ndim) == offsetof(DLTensor, ndim) &&
                  offsetof(microtome_tensor, dtype) == offsetof(DLTensor, dtype) &&
                  offsetof(microtome_tensor, shape) == offsetof(DLTensor, shape) &&
                  offsetof(microtome_tensor, strides) == offsetof(DLTensor, strides) &&
                  offsetof(microtome_tensor, byte_offset) == offsetof(DLTensor, byte_offset),
              "not DLPack's layout");
static_assert(int{MICROTOME_CPU} == int{kDLCPU} && int{MICROTOME_CUDA} == int{kDLCUDA} &&
              int{MICROTOME_BFLOAT} == int{kDLBfloat} && int{MICROTOME_FLOAT} == int{kDLFloat} &&
              int{MICROTOME_INT} == int{kDLInt} && int{MICROTOME_BOOL} == int{kDLBool});

struct TypeRow {
  at::ScalarType type;
  uint8_t code, bits;
};
constexpr TypeRow kTypes[] = {{at::kFloat, MICROTOME_FLOAT, 32}, {at::kDouble, MICROTOME_FLOAT, 64},
                              {at::kHalf, MICROTOME_FLOAT, 16},  {at::kBFloat16, MICROTOME_BFLOAT, 16},
                              {at::kLong, MICROTOME_INT, 64},    {at::kInt, MICROTOME_INT, 32},
                              {at::kBool, MICROTOME_BOOL, 8}};

[[noreturn]] void bad(const std::string& what) { throw Error(StatusCode::kBadInput, what, "forward"); }

microtome_tensor hand_out(ForwardHold& hold, const at::Tensor& t, bool on_device) {
  at::Tensor kept = t.detach();
  if (!on_device) {
    bool whole = !at::isFloatingType(kept.scalar_type());
    kept = kept.to(at::kCPU, whole                               ? at::kLong
                             : kept.scalar_type() == at::kDouble ? at::kDouble
                                                                 : at::kFloat)
               .contiguous();
  }
  hold.tensors.push_back(kept);
  hold.numbers.push_back(kept.sizes().vec());
  int64_t* shape = hold.numbers.back().data();
  hold.numbers.push_back(kept.strides().vec());
  microtome_tensor out{};
  out.data = kept.data_ptr();
  out.device = {kept.is_cpu() ? MICROTOME_CPU : MICROTOME_CUDA,
                kept.is_cpu() ? 0 : static_cast<int32_t>(kept.get_device())};
  out.ndim = static_cast<int32_t>(kept.dim());
  const TypeRow* row = std::find_if(std::begin(kTypes), std::end(kTypes),
                                    [&](const TypeRow& r) { return r.type == kept.scalar_type(); });
  if (row == std::end(kTypes))
    throw Error(StatusCode::kInternal, "a tensor's type has no name in the plug-in interface", "forward");
  out.dtype = {row->code, row->bits, 1};
  out.shape = shape;
  out.strides = hold.numbers.back().data();
  return out;
}

at::Tensor take_in(const microtome_tensor& t, const std::string& name, const Model& model) {
  std::string who = "source '" + name + "'";
  if (t.ndim < 0 || t.ndim > 16) bad(who + " has " + std::to_string(t.ndim) + " dimensions, which cannot be");
  check_list(t.shape, t.ndim, "the sizes of " + who, 16);
  std::vector<int64_t> shape(t.shape, t.shape + t.ndim), strides(shape.size());
  int64_t size = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] < 0 || shape[i] > kManyNumbers || (shape[i] > 0 && size > kManyNumbers / shape[i]))
      bad(who + " has a dimension of " + std::to_string(shape[i]) + ", which cannot be");
    strides[i] = t.strides ? t.strides[i] : size;
    if (strides[i] < 0) bad(who + " has a negative stride");
    size *= shape[i];
  }
  if (size > 0 && !t.data) bad("the numbers of " + who + " are null");
  const TypeRow* row = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeRow& r) {
    return r.code == t.dtype.code && r.bits == t.dtype.bits && t.dtype.lanes == 1;
  });
  if (row == std::end(kTypes))
    bad(who + " has a type that cannot be used (code " + std::to_string(t.dtype.code) + ", " +
        std::to_string(t.dtype.bits) + " bits)");
  c10::Device device = model.device();
  bool cpu = t.device.type == MICROTOME_CPU;
  if (!cpu && !(t.device.type == MICROTOME_CUDA && device.is_cuda() && device.index() == t.device.id))
    bad(who + " is neither in main memory nor on the model's device");
  at::TensorOptions options = at::TensorOptions().dtype(row->type).device(cpu ? c10::Device(c10::kCPU) : device);
  at::Tensor seen = at::from_blob(
      static_cast<char*>(t.data) + t.byte_offset, shape, strides, [](void*) {}, options, options.device());
  return seen.clone().to(device, model.dtype());
}

std::vector<Intervention> interventions_of(microtome_run& run, const microtome_forward& request,
                                           const at::Tensor& tokens) {
  if (!request.interventions) return {};
  const Model& model = run.input.model;
  std::string text = text_of(request.interventions, "the interventions", kDocumentBytes);
  std::map<std::string, const microtome_tensor*> sources;
  for (int64_t i = 0; i < request.source_count; ++i) {
    std::string name = text_of(request.sources[i].name, "the name of a source", kNameBytes);
    if (name == "clean") bad("a source is called 'clean', which is the same tokens run without interventions");
    if (!sources.emplace(name, &request.sources[i].tensor).second) bad("two sources are called '" + name + "'");
  }
  RunSource source = [&](const std::string& name, const std::string& hook, const std::vector<int64_t>& pos) {
    if (name == "clean") {
      HookPlan plan;
      plan.form = run.input.form;
      plan.logits = false;
      plan.capture(hook, pos);
      return model.forward(tokens, plan).cache.get(model.catalogue().match(hook).at(0));
    }
    auto it = sources.find(name);
    if (it == sources.end())
      bad("an intervention names run '" + name.substr(0, 60) + "', which is neither 'clean' nor a source of this call");
    if (!pos.empty()) bad("source '" + name + "' is taken whole: leave 'pos' out");
    return take_in(*it->second, name, model);
  };
  return parse_interventions(parse_json(text, "interventions").value(), "interventions", source);
}

}  // namespace

const microtome_forward_result* run_forward(microtome_run& run, const microtome_forward* request) {
  if (!request) bad("the request is null");
  if (request->version != MICROTOME_PLUGIN_VERSION || request->size < sizeof(microtome_forward))
    bad("the request's version or size is not set: use MICROTOME_PLUGIN_VERSION and sizeof");
  const microtome_forward& r = *request;
  const Model& model = run.input.model;
  if (r.rows < 1 || r.length < 1 || r.rows > (int64_t{1} << 28) / r.length)
    bad("a batch of " + std::to_string(r.rows) + " rows of " + std::to_string(r.length) + " tokens cannot be");
  if (!r.tokens) bad("the tokens are null");
  check_list(r.captures, r.capture_count, "the captures", 65536);
  check_list(r.sources, r.source_count, "the sources", 65536);
  at::NoGradGuard no_grad;
  at::Tensor tokens = at::empty({r.rows, r.length}, at::TensorOptions().dtype(at::kLong));
  std::copy(r.tokens, r.tokens + r.rows * r.length, tokens.mutable_data_ptr<int64_t>());
  tokens = tokens.to(model.device());

  HookPlan plan;
  plan.form = run.input.form;
  switch (r.logits) {
    case MICROTOME_LOGITS_ALL:
      break;
    case MICROTOME_LOGITS_NONE:
      plan.logits = false;
      break;
    case MICROTOME_LOGITS_AT: {
      check_list(r.logit_positions, r.logit_position_count, "the logit positions", r.length);
      std::vector<int64_t> positions;
      for (int64_t i = 0; i < r.logit_position_count; ++i) {
        int64_t p = r.logit_positions[i], q = p < 0 ? p + r.length : p;
        if (q < 0 || q >= r.length)
          bad("logit position " + std::to_string(p) + " is outside " + std::to_string(r.length) + " tokens");
        if (!positions.empty() && q <= positions.back()) bad("the logit positions do not ascend");
        positions.push_back(q);
      }
      if (positions.empty()) bad("logits are asked for at no position");
      plan.logit_positions = positions;
      break;
    }
    default:
      bad("logits are asked for in the unknown way " + std::to_string(r.logits));
  }
  for (int64_t i = 0; i < r.capture_count; ++i) {
    const microtome_capture& c = r.captures[i];
    check_list(c.positions, c.position_count, "the positions of a capture", r.length);
    plan.capture(text_of(c.pattern, "the pattern of a capture", kTextBytes),
                 std::vector<int64_t>(c.positions, c.positions + c.position_count));
  }
  for (Intervention& i : interventions_of(run, r, tokens)) plan.intervene(std::move(i));
  ForwardResult got = model.forward(tokens, plan);

  auto hold = std::make_unique<ForwardHold>();
  hold->head.version = MICROTOME_PLUGIN_VERSION;
  hold->head.size = sizeof(microtome_forward_result);
  if (got.logits.defined()) hold->head.logits = hand_out(*hold, got.logits, r.on_device != 0);
  for (const std::string& name : got.cache.names()) {
    const CachedTensor& about = got.cache.about(name);
    microtome_captured c{};
    hold->texts.push_back(name);
    c.name = hold->texts.back().c_str();
    hold->axes.emplace_back();
    for (const std::string& axis : about.axes) {
      hold->texts.push_back(axis);
      hold->axes.back().push_back(hold->texts.back().c_str());
    }
    c.axes = hold->axes.back().data();
    if (!about.positions.empty()) {
      hold->numbers.push_back(about.positions);
      c.positions = hold->numbers.back().data();
      c.position_count = static_cast<int64_t>(about.positions.size());
    }
    c.tensor = hand_out(*hold, got.cache.get(name), r.on_device != 0);
    hold->captured.push_back(c);
  }
  hold->head.captured = hold->captured.data();
  hold->head.captured_count = static_cast<int64_t>(hold->captured.size());
  run.forwards.push_back(std::move(hold));
  return &run.forwards.back()->head;
}

void free_forward(microtome_run& run, const microtome_forward_result* result) {
  if (!result) return;
  auto it = std::find_if(run.forwards.begin(), run.forwards.end(), [&](const auto& h) { return &h->head == result; });
  if (it == run.forwards.end())
    throw Error(StatusCode::kBadInput, "a forward result is freed that is none, or is freed already", "free_forward");
  run.forwards.erase(it);
}

}  // namespace microtome::plugins
