"use strict";

// Everything comes from this gateway: no validator's badge, no font, no link elsewhere that is followed by itself.
// The key that was typed in is forgotten when the page is closed.
SwaggerUIBundle({
  dom_id: "#api",
  url: "/openapi.yaml",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
});
