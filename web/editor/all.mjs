/**
 * Every module of the editor, asked for at once: one after the other, each would wait for a turn of a busy page.
 */
import "../vendor/dagre.mjs";
import "./actions.mjs";
import "./asked.mjs";
import "./card.mjs";
import "./commands.mjs";
import "./dom.mjs";
import "./dot.mjs";
import "./editor.mjs";
import "./files.mjs";
import "./gestures.mjs";
import "./i18n.mjs";
import "./inspector.mjs";
import "./json.mjs";
import "./keyboard.mjs";
import "./layout.mjs";
import "./live.mjs";
import "./merge.mjs";
import "./model.mjs";
import "./painter.mjs";
import "./quick_entry.mjs";
import "./recognise.mjs";
import "./results.mjs";
import "./scene.mjs";
import "./session.mjs";
import "./strength.mjs";
import "./strip.mjs";
import "./text_tab.mjs";
import "./toolbar.mjs";
import "./transfer.mjs";
import "./wording.mjs";
export { ended, failed, graphBefore, mount, preview, progress, report } from "./node.mjs";
