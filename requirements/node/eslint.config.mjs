// What `make lint` asks of the page's script beyond types, which tsc checks. It imports nothing, so it works from any folder.
export default [
  {
    files: ["**/*.js"],
    languageOptions: { ecmaVersion: 2024, sourceType: "module" },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: Object.fromEntries(
      [
        "array-callback-return", "consistent-return", "curly", "default-case-last", "dot-notation", "eqeqeq", "no-alert", "no-caller",
        "no-console", "no-constant-condition", "no-debugger", "no-dupe-keys", "no-else-return", "no-eval", "no-extend-native", "no-implied-eval",
        "no-lonely-if", "no-new-func", "no-param-reassign", "no-script-url", "no-self-compare", "no-shadow", "no-undef-init", "no-unneeded-ternary",
        "no-unreachable", "no-unused-expressions", "no-unused-vars", "no-use-before-define", "no-useless-concat", "no-useless-return", "no-var",
        "object-shorthand", "prefer-const", "prefer-template", "yoda",
      ].map((rule) => [rule, "error"]).concat([
        ["curly", ["error", "multi-line"]],
        ["no-use-before-define", ["error", { functions: false }]],
        ["no-restricted-properties", ["error", ...["innerHTML", "outerHTML", "insertAdjacentHTML", "setHTMLUnsafe"].map((property) => ({
          property, message: "text of others is set as text",
        })), { object: "document", property: "write" }]],
        ["no-restricted-globals", ["error", "fetch", "XMLHttpRequest", "WebSocket", "EventSource", "Worker", "Image", "localStorage", "sessionStorage"]],
      ]),
    ),
  },
];
