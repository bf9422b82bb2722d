#include "app/desktop/panels/model/model_tree.h"

#include <QStringList>
#include <algorithm>
#include <charconv>
#include <string_view>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/row_delegate.h"

namespace microtome::desktop {

struct ModelTree::Node {
  Kind kind = Kind::kRemark;
  Node* parent = nullptr;
  int row = 0, slot = 0, layer = -1;
  RowMark mark = RowMark::kNone;
  bool quiet = false;
  QString text, aside, detail, tip, name, capture;
  QStringList shorter;
  app::ModelPtr model;                 // of a kModel
  std::vector<std::unique_ptr<Node>> children;

  Node* add(Kind k, const QString& label, const QString& right = {}) {
    auto node = std::make_unique<Node>();
    node->kind = k;
    node->parent = this;
    node->row = static_cast<int>(children.size());
    node->slot = slot;
    node->layer = layer;
    node->text = label;
    node->detail = right;
    children.push_back(std::move(node));
    return children.back().get();
  }
  Node* child(Kind k) const {
    for (const auto& c : children)
      if (c->kind == k) return c.get();
    return nullptr;
  }
};

namespace {

constexpr std::string_view kBlocks = "blocks.", kWeight = ".weight";

// "blocks.12.attn.hook_q" is in layer 12, the rest being "attn.hook_q"; -1 for what is in no block.
int layerOf(const std::string& name, std::string_view* rest) {
  *rest = name;
  if (name.compare(0, kBlocks.size(), kBlocks) != 0) return -1;
  int layer = -1;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kBlocks.size(), end, layer);
  if (error != std::errc() || layer < 0 || stop == end || *stop != '.') return -1;
  *rest = std::string_view(stop + 1, static_cast<size_t>(end - stop - 1));
  return layer;
}

RowMark markOf(const app::ModelFacts& facts) {
  bool softmax = false, recurrent = false;
  for (const app::LayerFacts& l : facts.layers) (l.recurrent ? recurrent : softmax) = true;
  if (softmax && recurrent) return RowMark::kBoth;
  return recurrent ? RowMark::kRecurrent : softmax ? RowMark::kSoftmax : RowMark::kNone;
}

QString bytesText(qint64 n) {
  if (n >= 1'000'000'000) return ModelTree::tr("%1 GB").arg(numberText(static_cast<double>(n) / 1e9, 3));
  if (n >= 1'000'000) return ModelTree::tr("%1 MB").arg(numberText(static_cast<double>(n) / 1e6, 3));
  return ModelTree::tr("%1 kB").arg(numberText(static_cast<double>(n) / 1e3, 3));
}

QString lines(const QStringList& parts) { return parts.join(QLatin1Char('\n')); }

QString hookTip(const app::HookFacts& h) {
  QStringList axes;
  for (size_t i = 0; i < h.axes.size(); ++i) {
    const int64_t size = i < h.sizes.size() ? h.sizes[i] : -1;
    axes << (size < 0 ? axisText(h.axes[i]) : QStringLiteral("%1 (%2)").arg(axisText(h.axes[i])).arg(size));
  }
  QStringList out{labelText(h.name), ModelTree::tr("axes: %1").arg(axes.join(QStringLiteral(", ")))};
  if (!h.note.empty()) out << labelText(h.note);
  if (h.on_request) out << ModelTree::tr("computed only when it is asked for by name");
  return lines(out);
}

// Without the axes that follow the run, which most points share.
QStringList shorterShapes(const app::HookFacts& h) {
  app::HookFacts own;
  for (size_t i = 0; i < h.axes.size() && i < h.sizes.size(); ++i) {
    if (h.sizes[i] < 0) continue;
    own.axes.push_back(h.axes[i]);
    own.sizes.push_back(h.sizes[i]);
  }
  if (own.axes.empty() || own.axes.size() == h.axes.size()) return {};
  QStringList sizes;
  for (int64_t n : own.sizes) sizes << QString::number(n);
  return {QStringLiteral("… · ") + hookShape(own), sizes.join(QStringLiteral(" × "))};
}

// "4 × 32": heads × size without the words.
QString headSizes(const app::LayerFacts& l) {
  const QString size = l.d_k == l.d_v ? QString::number(l.d_k) : QStringLiteral("%1/%2").arg(l.d_k).arg(l.d_v);
  return QStringLiteral("%1 × %2").arg(l.heads).arg(size);
}

QString shapeText(const std::vector<int64_t>& shape) {
  QStringList out;
  for (int64_t n : shape) out << QString::number(n);
  return out.isEmpty() ? ModelTree::tr("one number") : out.join(QStringLiteral(" × "));
}

qint64 sizeOf(const app::WeightFacts& w) {
  qint64 n = 1;
  for (int64_t d : w.shape) n *= d;
  return n;
}

void addFact(std::vector<std::pair<QString, QString>>& facts, const QString& name, const QString& value) {
  if (!value.isEmpty()) facts.emplace_back(name, value);
}

std::vector<std::pair<QString, QString>> factsOf(const app::ModelFacts& f) {
  std::vector<std::pair<QString, QString>> out;
  addFact(out, ModelTree::tr("family"), labelText(f.family, 60));
  addFact(out, ModelTree::tr("parameters"), exactCount(f.parameters));
  addFact(out, ModelTree::tr("d_model"), exactCount(f.d_model));
  addFact(out, ModelTree::tr("vocabulary"), ModelTree::tr("%1 tokens").arg(exactCount(f.vocab_size)));
  addFact(
      out, ModelTree::tr("context"),
      f.context_length > 0 ? ModelTree::tr("%1 tokens").arg(exactCount(f.context_length)) : ModelTree::tr("not limited"));
  const QString computed = labelText(f.dtype, 20), stored = labelText(f.stored_dtype, 20);
  addFact(out, ModelTree::tr("computed in"),
          computed == stored || stored.isEmpty() ? computed : ModelTree::tr("%1 (stored %2)").arg(computed, stored));
  addFact(out, ModelTree::tr("device"), labelText(f.device, 20));
  addFact(out, ModelTree::tr("weights on disk"), bytesText(f.weight_bytes));
  addFact(out, ModelTree::tr("unembedding"), f.tied_unembedding ? ModelTree::tr("tied") : ModelTree::tr("of its own"));
  addFact(out, ModelTree::tr("tokenizer"),
          f.has_tokenizer ? ModelTree::tr("in the folder") : ModelTree::tr("none: prompts as ids"));
  addFact(out, ModelTree::tr("folder"), labelText(f.folder, 300));
  return out;
}

}  // namespace

ModelTree::ModelTree(QObject* parent) : QAbstractItemModel(parent), root_(std::make_unique<Node>()) {}
ModelTree::~ModelTree() = default;

// ---- building

void ModelTree::setModel(int slot, const app::ModelPtr& model) {
  if (Node* old = rootOf(slot)) {
    if (old->model == model) return;
    beginRemoveRows({}, old->row, old->row);
    root_->children.erase(root_->children.begin() + old->row);
    for (size_t i = 0; i < root_->children.size(); ++i) root_->children[i]->row = static_cast<int>(i);
    endRemoveRows();
  }
  if (!model) return;
  const app::ModelFacts& f = model->facts();
  auto top = std::make_unique<Node>();
  top->kind = Kind::kModel;
  top->parent = root_.get();
  top->slot = slot;
  top->model = model;
  top->mark = markOf(f);
  top->text = labelText(f.name, 80);
  top->name = top->text;
  top->capture = QStringLiteral("*");
  top->detail = tr("%1 parameters").arg(shortCount(f.parameters));
  top->shorter = QStringList{shortCount(f.parameters)};
  top->tip =
      lines({top->text,
             tr("%1 parameters in %n block(s)", nullptr, static_cast<int>(f.layers.size())).arg(exactCount(f.parameters)),
             labelText(f.folder, 300)});

  Node* facts =
      top->add(Kind::kFacts, tr("Facts"), tr("%1 · d_model %2").arg(labelText(f.family, 40), QString::number(f.d_model)));
  facts->shorter = QStringList{labelText(f.family, 40)};
  for (const auto& [name, value] : factsOf(f)) {
    Node* fact = facts->add(Kind::kFact, name, value);
    fact->name = value;
    fact->tip = QStringLiteral("%1: %2").arg(name, value);
  }
  // Hook points in running order: what lies before the blocks, the blocks, what lies behind them.
  std::vector<const app::HookFacts*> behind;
  const auto addHook = [](Node* to, const app::HookFacts& h, std::string_view shown) {
    Node* n = to->add(Kind::kHook, labelText(std::string(shown), 120), hookShape(h));
    n->name = labelText(h.name, 300);
    n->capture = n->name;
    n->quiet = h.on_request;
    n->shorter = shorterShapes(h);
    n->tip = hookTip(h);
  };
  std::vector<std::vector<std::pair<const app::HookFacts*, std::string_view>>> inside(f.layers.size());
  bool sawBlock = false;
  for (const app::HookFacts& h : f.hooks) {
    std::string_view rest;
    const int layer = layerOf(h.name, &rest);
    if (layer >= 0 && static_cast<size_t>(layer) < inside.size()) {
      inside[static_cast<size_t>(layer)].emplace_back(&h, rest);
      sawBlock = true;
    } else if (sawBlock) {
      behind.push_back(&h);
    } else {
      addHook(top.get(), h, h.name);
    }
  }
  for (size_t i = 0; i < f.layers.size(); ++i) {
    const app::LayerFacts& l = f.layers[i];
    Node* block = top->add(Kind::kBlock, tr("Block %1").arg(i), headsText(l));
    block->layer = static_cast<int>(i);
    block->mark = l.recurrent ? RowMark::kRecurrent : RowMark::kSoftmax;
    block->aside = nameText(l.mixer);
    block->shorter = QStringList{headSizes(l)};
    block->name = QStringLiteral("blocks.%1").arg(i);
    block->capture = block->name + QStringLiteral(".*");
    block->tip = lines({tr("Block %1: %2 (%3)").arg(i).arg(block->aside, l.recurrent ? tr("recurrent") : tr("softmax")),
                        block->detail, tr("d_k %1, d_v %2, d_mlp %3").arg(l.d_k).arg(l.d_v).arg(l.d_mlp)});
    for (const auto& [hook, rest] : inside[i]) addHook(block, *hook, rest);
  }
  for (const app::HookFacts* h : behind) addHook(top.get(), *h, h->name);
  Node* weights = top->add(Kind::kWeights, tr("Weights"), tr("norms"));
  weights->tip = tr("Shape, norm and root mean square of every weight, read when this is opened.");
  weights->add(Kind::kRemark, tr("not read yet"));

  const int row = slot == 0 ? 0 : static_cast<int>(root_->children.size());
  beginInsertRows({}, row, row);
  root_->children.insert(root_->children.begin() + row, std::move(top));
  for (size_t i = 0; i < root_->children.size(); ++i) root_->children[i]->row = static_cast<int>(i);
  endInsertRows();
}

void ModelTree::setWeights(int slot, const std::vector<app::WeightFacts>& given) {
  Node* weights = weightsOf(slot);
  if (!weights) return;
  std::vector<const app::WeightFacts*> order;
  for (const app::WeightFacts& w : given) order.push_back(&w);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    std::string_view rest;
    return layerOf(a->name, &rest) < layerOf(b->name, &rest);
  });
  const QModelIndex at = indexOf(weights);
  if (!weights->children.empty()) {
    beginRemoveRows(at, 0, static_cast<int>(weights->children.size()) - 1);
    weights->children.clear();
    endRemoveRows();
  }
  Node fresh;                          // built aside, so that rows come in one step
  fresh.slot = slot;
  Node* group = nullptr;
  qint64 total = 0;
  std::vector<qint64> perBlock(rootOf(slot)->model->facts().layers.size(), 0);
  for (const app::WeightFacts* w : order) {
    std::string_view rest;
    const int layer = layerOf(w->name, &rest);
    const qint64 size = sizeOf(*w);
    total += size;
    if (layer >= 0 && static_cast<size_t>(layer) < perBlock.size()) perBlock[static_cast<size_t>(layer)] += size;
    if (layer >= 0 && (!group || group->layer != layer)) {
      group = fresh.add(Kind::kGroup, tr("Block %1").arg(layer));
      group->layer = layer;
      group->name = QStringLiteral("blocks.%1").arg(layer);
    }
    Node* n =
        (layer >= 0 ? group : &fresh)
            ->add(Kind::kWeight,
                  labelText(std::string(rest.substr(0, rest.size() - (rest.ends_with(kWeight) ? kWeight.size() : 0))), 120),
                  tr("%1 · rms %2").arg(shapeText(w->shape), numberText(w->rms, 3)));
    n->name = labelText(w->name, 300);
    n->shorter = QStringList{tr("rms %1").arg(numberText(w->rms, 3))};
    n->tip =
        lines({n->name, tr("shape %1, %2 numbers, %3").arg(shapeText(w->shape), exactCount(size), labelText(w->dtype, 20)),
               tr("norm %1 (Frobenius), root mean square %2").arg(numberText(w->norm), numberText(w->rms))});
  }
  for (const auto& c : fresh.children) {
    if (c->kind != Kind::kGroup || static_cast<size_t>(c->layer) >= perBlock.size()) continue;
    const QString count = shortCount(perBlock[static_cast<size_t>(c->layer)]);
    c->detail = tr("%1 parameters").arg(count);
    c->shorter = QStringList{count};
  }
  if (fresh.children.empty()) fresh.add(Kind::kRemark, tr("this model has no weights"));
  beginInsertRows(at, 0, static_cast<int>(fresh.children.size()) - 1);
  weights->children = std::move(fresh.children);
  for (const auto& c : weights->children) c->parent = weights;
  endInsertRows();

  weights->detail = tr("%1 parameters").arg(shortCount(total));
  Q_EMIT dataChanged(at, at);
  const app::ModelFacts& facts = rootOf(slot)->model->facts();
  for (const auto& c : rootOf(slot)->children) {
    if (c->kind != Kind::kBlock) continue;
    const auto layer = static_cast<size_t>(c->layer);
    c->detail = tr("%1 · %2 parameters").arg(headsText(facts.layers[layer]), shortCount(perBlock[layer]));
    c->shorter = QStringList{QStringLiteral("%1 · %2").arg(headsText(facts.layers[layer]), shortCount(perBlock[layer])),
                             headsText(facts.layers[layer]), headSizes(facts.layers[layer])};
    c->tip += QLatin1Char('\n') + tr("%1 parameters").arg(exactCount(perBlock[layer]));
    const QModelIndex i = indexOf(c.get());
    Q_EMIT dataChanged(i, i);
  }
}

bool ModelTree::hasWeights(int slot) const {
  const Node* weights = weightsOf(slot);
  return weights && !weights->child(Kind::kRemark);
}

void ModelTree::setWeightsRemark(int slot, const QString& remark) {
  const Node* weights = weightsOf(slot);
  Node* node = weights ? weights->child(Kind::kRemark) : nullptr;
  if (!node || node->text == remark) return;
  node->text = remark;
  node->tip = remark;
  const QModelIndex at = indexOf(node);
  Q_EMIT dataChanged(at, at);
}

// ---- finding

ModelTree::Node* ModelTree::rootOf(int slot) const {
  for (const auto& c : root_->children)
    if (c->slot == slot) return c.get();
  return nullptr;
}

ModelTree::Node* ModelTree::weightsOf(int slot) const {
  const Node* top = rootOf(slot);
  return top ? top->child(Kind::kWeights) : nullptr;
}

app::ModelPtr ModelTree::model(int slot) const {
  const Node* top = rootOf(slot);
  return top ? top->model : nullptr;
}

ModelTree::Node* ModelTree::nodeOf(const QModelIndex& index) const {
  return index.isValid() ? static_cast<Node*>(index.internalPointer()) : root_.get();
}

QModelIndex ModelTree::indexOf(const Node* node) const {
  return node && node != root_.get() ? createIndex(node->row, 0, node) : QModelIndex();
}

QModelIndex ModelTree::modelIndex(int slot) const { return indexOf(rootOf(slot)); }
QModelIndex ModelTree::weightsIndex(int slot) const { return indexOf(weightsOf(slot)); }

QModelIndex ModelTree::blockIndex(int slot, int layer) const {
  if (const Node* top = rootOf(slot))
    for (const auto& c : top->children)
      if (c->kind == Kind::kBlock && c->layer == layer) return indexOf(c.get());
  return {};
}

QModelIndex ModelTree::hookIndex(int slot, const QString& name) const {
  const Node* top = rootOf(slot);
  if (!top || name.isEmpty()) return {};
  for (const auto& c : top->children) {
    if (c->kind == Kind::kHook && c->name == name) return indexOf(c.get());
    if (c->kind != Kind::kBlock || !name.startsWith(c->name + QLatin1Char('.'))) continue;
    for (const auto& h : c->children)
      if (h->kind == Kind::kHook && h->name == name) return indexOf(h.get());
  }
  return {};
}

// ---- as Qt asks

QModelIndex ModelTree::index(int row, int column, const QModelIndex& parent) const {
  if (column != 0 || row < 0 || row >= rowCount(parent)) return {};
  return indexOf(nodeOf(parent)->children[static_cast<size_t>(row)].get());
}

QModelIndex ModelTree::parent(const QModelIndex& child) const {
  return child.isValid() ? indexOf(nodeOf(child)->parent) : QModelIndex();
}

int ModelTree::rowCount(const QModelIndex& parent) const {
  return parent.column() > 0 ? 0 : static_cast<int>(nodeOf(parent)->children.size());
}

int ModelTree::columnCount(const QModelIndex&) const { return 1; }

QVariant ModelTree::data(const QModelIndex& index, int role) const {
  if (!index.isValid()) return {};
  const Node* n = nodeOf(index);
  switch (role) {
    case Qt::DisplayRole: return n->text;
    case Qt::ToolTipRole: return tipText(n->tip).replace(QLatin1Char('\n'), QStringLiteral("<br>"));
    case Qt::AccessibleTextRole: return QStringList{n->text, n->aside, n->detail}.join(QLatin1Char(' ')).simplified();
    case Qt::StatusTipRole: return QString(n->tip).replace(QLatin1Char('\n'), QStringLiteral(" · "));
    case kKindRole: return static_cast<int>(n->kind);
    case kSlotRole: return n->slot;
    case kLayerRole: return n->layer;
    case kNameRole: return n->name;
    case kCaptureRole: return n->capture;
    case kAsideRole: return n->aside;
    case kDetailRole: return n->detail;
    case kShorterRole: return n->shorter;
    case kMarkRole: return static_cast<int>(n->mark);
    case kQuietRole: return n->quiet;
    default: return {};
  }
}

}  // namespace microtome::desktop
