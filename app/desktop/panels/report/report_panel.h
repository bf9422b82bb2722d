// report_panel.h — choose runs and pictures, write notes, see the pages, export them as HTML, PDF or Markdown.
#pragma once

#include <QPointer>
#include <QSet>
#include <QTimer>
#include <map>
#include <memory>
#include <vector>

#include "app/desktop/panels/panel.h"
#include "app/desktop/panels/report/content.h"
#include "core/base/status.h"

class QLineEdit;
class QListWidget;
class QPlainTextEdit;
class QSplitter;

namespace microtome::desktop {

class PagePreview;

class ReportPanel : public Panel {
  Q_OBJECT
 public:
  ReportPanel(Session& session, const PanelInfo& info, QWidget* parent);
  QByteArray saveState() const override;
  void restoreState(const QByteArray& state) override;
  // Made anew from what is chosen now, then written; the suffix says as what. A notice or a problem says how it went.
  void exportTo(const QString& path);

 protected:
  void refresh() override;
  void showEvent(QShowEvent* event) override;

 private:
  using Runs = std::map<qint64, std::shared_ptr<const ReportRun>>;
  QWidget* makeChoices();
  QListWidget* makeList(const QString& name, const QString& object);
  void addItem(QListWidget* list, const QString& text, const QString& key, const QString& tip, bool on);
  void fillLists();
  void checkRuns(bool on);
  std::vector<qint64> chosenRuns() const;
  std::vector<QPointer<View>> chosenPictures() const;
  void later(int ms);
  void build();
  void compose(const Runs& runs, const std::vector<qint64>& order);
  void nextStep();
  void exportAs(const QString& format);
  void writeOut();
  void addPicture(std::shared_ptr<ReportOptions> options, size_t i, const QString& path);
  void writeText(std::shared_ptr<ReportOptions> options, const QString& path);

  EmptyState* empty_;
  QSplitter* content_;
  QLineEdit *title_, *question_;
  QListWidget *runs_, *pictures_;
  QPlainTextEdit* notes_;
  PagePreview* preview_;
  QTimer rebuild_, step_;
  QSet<QString> off_;                  // what was unticked, by key; everything new is on
  std::vector<QPointer<View>> shown_;
  std::shared_ptr<const ReportContent> content_now_;
  std::shared_ptr<ReportPages> pages_;
  std::vector<std::function<void()>> steps_;
  std::vector<ReportPage> drawn_;
  size_t done_ = 0;
  QString pending_;
};

}  // namespace microtome::desktop
