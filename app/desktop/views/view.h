// view.h — what every picture of the app can do: be saved as PNG, SVG or CSV, be copied, give the command that repeats it,
// carry a note. A view belongs to a kind of data (a matrix, a table, lines, a graph), never to an analysis.
#pragma once

#include <QImage>
#include <QList>
#include <QString>
#include <QWidget>

class QMenu;
class QPainter;

namespace microtome::desktop {

class View : public QWidget {
  Q_OBJECT
 public:
  enum class Format { kPng, kSvg, kCsv };

  explicit View(QWidget* parent = nullptr);

  // What is shown, one line; also the file name that saving suggests.
  void setTitle(const QString& title);
  const QString& title() const { return title_; }
  // The `microtome …` line that gives the same numbers; empty: the menu entry is off.
  void setCommand(const QString& command);
  const QString& command() const { return command_; }
  // The run and artifact shown, for notes (0: none).
  void setSource(qint64 runId, const QString& artifact);
  qint64 sourceRun() const { return run_; }
  const QString& sourceArtifact() const { return artifact_; }

  virtual QList<Format> formats() const { return {Format::kPng, Format::kSvg, Format::kCsv}; }
  // Draws the picture whole, as it stands, into `size` (logical pixels): for PNG, SVG, reports. The default renders the
  // widget; views with pictures of their own draw vectors.
  virtual void drawPicture(QPainter& painter, const QSizeF& size) const;
  virtual QSizeF pictureSize() const;
  // RFC 4180; empty: no numbers to give.
  virtual QString csv() const { return {}; }
  // False with one clear sentence in `why`; the file is then as it was before.
  bool save(const QString& path, Format format, QString* why) const;
  QByteArray svg() const;
  QImage image(double scale = 2.0) const;

  // Save as PNG… / SVG… / CSV…, Copy picture, Copy numbers, Copy as command, Add note…; then what the view adds. Owned by
  // `parent`.
  QMenu* makeMenu(QWidget* parent);
  virtual void addActions(QMenu& menu) { (void)menu; }

 Q_SIGNALS:
  // What is below the mouse, for the status line; empty: nothing.
  void hoverText(const QString& text);
  void noteWanted(qint64 runId, const QString& artifact);
  // Saved or failed: shown as a bar by the panel.
  void message(const QString& text, bool isError);

 protected:
  void contextMenuEvent(QContextMenuEvent* event) override;

 private:
  void saveAs(Format format);
  QString title_, command_, artifact_;
  qint64 run_ = 0;
};

}  // namespace microtome::desktop
