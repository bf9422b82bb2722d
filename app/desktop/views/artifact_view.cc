#include "app/desktop/views/artifact_view.h"

#include <QCoreApplication>
#include <QLabel>
#include <QPointer>
#include <QVBoxLayout>
#include <type_traits>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/attribution_view.h"
#include "app/desktop/views/chart_view.h"
#include "app/desktop/views/feature_set_view.h"
#include "app/desktop/views/graph_view.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/table_view.h"
#include "app/desktop/views/tensor_map_view.h"
#include "app/desktop/views/text_view.h"

namespace microtome::desktop {
namespace {

QString tr(const char* text) { return QCoreApplication::translate("ArtifactView", text); }

QWidget* makeSentence(const QString& text, QWidget* parent) {
  auto* label = new QLabel(text, parent);
  label->setTextFormat(Qt::PlainText);
  label->setObjectName(QStringLiteral("sentence"));
  label->setProperty("role", QStringLiteral("muted"));
  label->setAlignment(Qt::AlignCenter);
  label->setWordWrap(true);
  label->setMargin(2 * kGrid);
  label->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Expanding);
  return label;
}

QString problemOf(const Table& table) {
  if (table.columns.empty()) return tr("This table has no columns: run the analysis again.");
  for (size_t i = 0; i < table.rows.size(); ++i)
    if (table.rows[i].size() != table.columns.size())
      return tr("Row %1 of this table has %2 cells for %3 columns: run the analysis again.")
          .arg(i + 1).arg(table.rows[i].size()).arg(table.columns.size());
  return {};
}

QString problemOf(const TensorMap& map) {
  return map.arrays.empty() ? tr("This result holds no arrays.") : QString();   // each array is looked at when it is chosen
}

QString problemOf(const Series& series) {
  bool points = false;
  for (const Series::Line& line : series.lines) {
    if (line.x.size() != line.y.size())
      return tr("The line “%1” has %2 places for %3 values: run the analysis again.")
          .arg(nameText(line.name)).arg(line.x.size()).arg(line.y.size());
    points = points || !line.x.empty();
  }
  return points ? QString() : tr("There are no points to draw.");
}

QString problemOf(const Text& text) {
  return text.markdown.empty() ? tr("This text is empty.") : QString();
}

QString problemOf(const Circuit& circuit) {
  if (!circuit.nodes.empty() || !circuit.edges.empty()) return {};
  return tr("This circuit is empty: a lower threshold keeps more of it.");
}

QString problemOf(const FeatureSet& set) {
  return set.features.empty() ? tr("No feature was looked at: choose others, or a larger corpus.") : QString();
}

QString problemOf(const AttributionGraph& graph) {
  return graph.nodes.empty() ? tr("This graph is empty: raise the share of influence that is kept.") : QString();
}

// Each kind's view takes what it shows; the same for the first and for a newer artifact.
void fill(TableView& view, std::shared_ptr<const Table> table) { view.setTable(std::move(table)); }
void fill(ChartView& view, std::shared_ptr<const Series> series) { view.setData(ChartView::fromSeries(*series)); }
void fill(FeatureSetView& view, std::shared_ptr<const FeatureSet> set) { view.setSet(std::move(set)); }
void fill(TextView& view, std::shared_ptr<const Text> text) { view.setMarkdown(QString::fromStdString(text->markdown)); }
void fill(GraphView& view, std::shared_ptr<const Circuit> circuit) {
  bool members = false;
  for (const Circuit::Node& n : circuit->nodes) members = members || n.in_graph;
  view.setGraph(graphOf(*circuit, members));
}

template <class Part>
struct ViewOf;
template <> struct ViewOf<Table> { using type = TableView; };
template <> struct ViewOf<Series> { using type = ChartView; };
template <> struct ViewOf<Text> { using type = TextView; };
template <> struct ViewOf<Circuit> { using type = GraphView; };
template <> struct ViewOf<FeatureSet> { using type = FeatureSetView; };
template <> struct ViewOf<AttributionGraph> { using type = AttributionView; };
template <> struct ViewOf<TensorMap> { using type = TensorMapView; };

// Fills `widget`, or makes one where it is null. Null: `widget` is for another kind.
QWidget* showIn(QWidget* widget, std::shared_ptr<const Artifact> artifact, const ArtifactContext& context, QWidget* parent) {
  return std::visit(
      [&](const auto& part) -> QWidget* {
        using Part = std::decay_t<decltype(part)>;
        using V = typename ViewOf<Part>::type;
        V* view = widget ? qobject_cast<V*>(widget) : new V(parent);
        if (!view) return nullptr;
        std::shared_ptr<const Part> shared(artifact, &part);
        if constexpr (std::is_same_v<Part, TensorMap>) {
          view->setMap(std::move(shared), context);
        } else if constexpr (std::is_same_v<Part, AttributionGraph>) {
          view->setGraph(std::move(shared), context);
        } else {
          view->setTitle(artifactTitle(*artifact));
          view->setCommand(context.command);
          view->setSource(context.run, QString::fromStdString(part.name));
          fill(*view, std::move(shared));
        }
        return view;
      },
      *artifact);
}

}  // namespace

QString problemOf(const Artifact& artifact) {
  return std::visit([](const auto& part) { return problemOf(part); }, artifact);
}

QString artifactTitle(const Artifact& artifact) {
  return std::visit([](const auto& part) { return part.title.empty() ? nameText(part.name) : labelText(part.title); }, artifact);
}

QWidget* makeArtifactView(const Artifact& artifact, const ArtifactContext& context, QWidget* parent) {
  return makeArtifactView(std::make_shared<const Artifact>(artifact), context, parent);
}

QWidget* makeArtifactView(std::shared_ptr<const Artifact> artifact, const ArtifactContext& context, QWidget* parent) {
  if (const QString why = problemOf(*artifact); !why.isEmpty()) return makeSentence(why, parent);
  return showIn(nullptr, std::move(artifact), context, parent);
}

bool updateArtifactView(QWidget* widget, std::shared_ptr<const Artifact> artifact, const ArtifactContext& context) {
  return widget && problemOf(*artifact).isEmpty() && showIn(widget, std::move(artifact), context, nullptr);
}

std::vector<View*> viewsOf(QWidget* widget) {
  if (auto* view = qobject_cast<View*>(widget)) return {view};
  std::vector<View*> out;
  if (auto* map = qobject_cast<TensorMapView*>(widget)) {
    if (map->view()) out.push_back(map->view());
    return out;
  }
  if (widget)
    for (QObject* child : widget->children())
      if (auto* inner = qobject_cast<QWidget*>(child))
        for (View* view : viewsOf(inner)) out.push_back(view);
  return out;
}

}  // namespace microtome::desktop
