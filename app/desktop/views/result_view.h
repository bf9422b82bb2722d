// result_view.h — a whole result: findings as sentences, warnings, the summary, then the artifacts as tabs. A tab's view is
// made when it is first looked at.
#pragma once

#include <QHash>
#include <QWidget>
#include <memory>

#include "app/desktop/views/artifact_view.h"
#include "core/base/artifact.h"

namespace microtome::desktop {

class ResultView : public QWidget {
  Q_OBJECT
 public:
  explicit ResultView(QWidget* parent = nullptr);
  ~ResultView() override;

  // A newer result with the same artifacts (a run that fills) keeps the tab, the zoom and the choices. Null: clear().
  void setResult(std::shared_ptr<const AnalysisResult> result, const ArtifactContext& context);
  void clear(const QString& emptyText);                // what to do next
  // The summary and the artifacts looked at so far, in reading order.
  std::vector<View*> views() const;
  // Brings an artifact to the front by its name; nothing happens where there is none.
  void showArtifact(const QString& name);
  QString currentArtifact() const;                     // name; empty: none
  // What is selected elsewhere, for all arrays on show. Emits nothing.
  void select(const QHash<QString, qint64>& indexByAxis);

 Q_SIGNALS:
  void hoverText(const QString& text);
  void message(const QString& text, bool isError);
  void noteWanted(qint64 run, const QString& artifact);
  // A cell of a picture, or a row of a table that names layer, head or position.
  void cellPicked(const QHash<QString, qint64>& indexByAxis);

 protected:
  void changeEvent(QEvent* event) override;
  void resizeEvent(QResizeEvent* event) override;
  void showEvent(QShowEvent* event) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome::desktop
