#include "app/desktop/panels/result_pane.h"

#include <QTabWidget>
#include <QTimer>
#include <algorithm>

#include "app/desktop/views/tensor_map_view.h"
#include "core/base/json.h"

namespace microtome::desktop {
namespace {

// More layers than this has no model; a context is a file's text.
constexpr size_t kMostLayers = 4096;

}  // namespace

std::vector<LayerKind> layersOf(const QString& context) {
  std::vector<LayerKind> out;
  if (context.isEmpty()) return out;
  const Result<Json> json = parse_json(context.toStdString(), "context");
  if (!json || !json.value().is_object()) return out;
  const Json model = json.value().value("model", Json::object());
  if (!model.is_object()) return out;
  const Json layers = model.value("layers", Json::array());
  if (!layers.is_array() || layers.size() > kMostLayers) return out;
  for (const Json& layer : layers) {
    const auto kind = layer.is_object() ? layer.find("kind") : layer.end();
    const bool known = layer.is_object() && kind != layer.end() && kind->is_string();
    const std::string text = known ? kind->get<std::string>() : std::string();
    out.push_back(text == "recurrent" ? LayerKind::kRecurrent : text == "softmax" ? LayerKind::kSoftmax : LayerKind::kNone);
  }
  return out;
}

std::vector<LayerKind> layersOf(const app::ModelFacts& facts) {
  std::vector<LayerKind> out;
  for (const app::LayerFacts& layer : facts.layers) out.push_back(layer.recurrent ? LayerKind::kRecurrent : LayerKind::kSoftmax);
  return out;
}

ResultPane::ResultPane(Panel& panel, QWidget* parent) : ResultView(parent), session_(panel.session()) {
  connect(this, &ResultView::hoverText, &panel, &Panel::hoverText);
  connect(this, &ResultView::noteWanted, &panel, &Panel::noteWanted);
  connect(this, &ResultView::message, &panel,
          [&panel](const QString& text, bool isError) { isError ? panel.showProblem(text) : panel.showNotice(text); });
  connect(this, &ResultView::cellPicked, this, &ResultPane::pick);
  connect(&session_.selection(), &Selection::changed, this, &ResultPane::mark);
  if (auto* tabs = findChild<QTabWidget*>())
    connect(tabs, &QTabWidget::currentChanged, this, [this] {
      watchPictures();
      Q_EMIT artifactShown(currentArtifact());
    });
}

void ResultPane::showRun(const RunViewPtr& run, int slot) {
  ArtifactContext context;
  context.layers = layersOf(run->context);
  if (context.layers.empty() && slot >= 0 && session_.model(slot)) context.layers = layersOf(session_.model(slot)->facts());
  context.command = QString::fromStdString(run->record.command.empty() ? run->record.spec.command : run->record.command);
  context.run = run->record.id;
  slot_ = slot;
  result_ = std::shared_ptr<const AnalysisResult>(run, &run->result);
  setResult(result_, context);
  mark();
  watchPictures();
}

void ResultPane::showPreview(const std::shared_ptr<const AnalysisResult>& soFar, int slot, const QString& command) {
  ArtifactContext context;
  if (slot >= 0 && session_.model(slot)) context.layers = layersOf(session_.model(slot)->facts());
  context.command = command;
  slot_ = slot;
  result_ = soFar;
  setResult(soFar, context);
  watchPictures();
}

// A tab's view is made when it is first looked at.
void ResultPane::watchPictures() {
  for (TensorMapView* map : findChildren<TensorMapView*>()) {
    if (map->property("watched").toBool()) continue;
    map->setProperty("watched", true);
    connect(map, &TensorMapView::shown, this, &ResultPane::pictureShown);
  }
  // What was made just now is seen only once the layout has placed it.
  QTimer::singleShot(0, this, &ResultPane::pictureShown);
}

HeatMapView* ResultPane::picture() const {
  for (TensorMapView* map : findChildren<TensorMapView*>())
    if (map->isVisibleTo(this)) return qobject_cast<HeatMapView*>(map->view());
  return nullptr;
}

void pairUp(ResultPane* left, ResultPane* right) {
  const auto share = [left, right] {
    HeatMapView* maps[] = {left->picture(), right->picture()};
    std::pair<double, double> scales[2];
    for (int i = 0; i < 2; ++i) {
      if (!maps[i]) continue;
      // Its own first: what was shared before may be too wide now.
      maps[i]->setScale(maps[i]->data().lo, maps[i]->data().hi);
      scales[i] = maps[i]->scale();
    }
    if (!maps[0] || !maps[1] || !left->isVisible() || !right->isVisible()) return;
    const HeatMapData &a = maps[0]->data(), &b = maps[1]->data();
    if (a.label != b.label || a.unit != b.unit || a.look != b.look) return;
    for (HeatMapView* map : maps) map->setScale(std::min(scales[0].first, scales[1].first), std::max(scales[0].second, scales[1].second));
  };
  for (ResultPane* pane : {left, right}) QObject::connect(pane, &ResultPane::pictureShown, left, share);
  QObject::connect(left, &ResultPane::artifactShown, right, &ResultPane::showArtifact);
  QObject::connect(right, &ResultPane::artifactShown, left, &ResultPane::showArtifact);
}

void ResultPane::forget(const QString& emptyText) {
  result_.reset();
  slot_ = -1;
  clear(emptyText);
}

qint64 ResultPane::shift() const {
  const PromptPair* pair = slot_ >= 0 ? session_.currentPair(slot_) : nullptr;
  if (!result_ || !pair) return 0;
  for (const Artifact& artifact : result_->artifacts) {
    const auto* map = std::get_if<TensorMap>(&artifact);
    if (!map || QString::fromStdString(map->name) != currentArtifact()) continue;
    for (const NamedArray& array : map->arrays)
      for (size_t d = 0; d < array.axes.size() && d < array.shape.size(); ++d)
        if (array.axes[d] == "pos" || array.axes[d] == "q_pos") return static_cast<qint64>(pair->clean_ids.size()) - array.shape[d];
  }
  return 0;
}

void ResultPane::pick(const QHash<QString, qint64>& cell) {
  // A head of a model that is not open could only be mistaken for one that is.
  if (slot_ < 0 || !session_.model(slot_)) return;
  Selection& s = session_.selection();
  const auto& layers = session_.model(slot_)->facts().layers;
  s.setModel(slot_);
  const qint64 layer = cell.value(QStringLiteral("layer"), -1);
  if (layer >= 0 && layer < static_cast<qint64>(layers.size()))
    s.setHead(static_cast<int>(layer), static_cast<int>(std::clamp<qint64>(cell.value(QStringLiteral("head"), -1), -1,
                                                                           layers[static_cast<size_t>(layer)].heads - 1)));
  if (const PromptPair* pair = session_.currentPair(slot_)) {
    const qint64 tokens = static_cast<qint64>(pair->clean_ids.size());
    const auto place = [&](const char* axis) {
      const qint64 at = cell.value(QLatin1String(axis), -1);
      return at >= 0 && at + shift() >= 0 && at + shift() < tokens ? static_cast<int>(at + shift()) : -1;
    };
    const int query = place(cell.contains(QStringLiteral("q_pos")) ? "q_pos" : "pos");
    if (query >= 0) s.setPosition(query, place("k_pos"));
  }
}

void ResultPane::mark() {
  if (slot_ < 0 || session_.selection().model() != slot_) return;
  const Selection& s = session_.selection();
  QHash<QString, qint64> at;
  if (s.layer() >= 0) at[QStringLiteral("layer")] = s.layer();
  if (s.head() >= 0) at[QStringLiteral("head")] = s.head();
  if (s.position() >= 0 && s.position() - shift() >= 0) {
    at[QStringLiteral("pos")] = at[QStringLiteral("q_pos")] = s.position() - shift();
    if (s.keyPosition() >= 0) at[QStringLiteral("k_pos")] = s.keyPosition() - shift();
  }
  select(at);
}

}  // namespace microtome::desktop
